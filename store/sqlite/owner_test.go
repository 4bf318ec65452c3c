package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/sqlite"
	"github.com/outhook/webhook/store/storetest"
	"github.com/outhook/webhook/webhooktest"
)

// TestMain lets this binary be a process that opens the database, leases what is due and waits.
func TestMain(m *testing.M) {
	if path := os.Getenv("WEBHOOK_TEST_HOLDER"); path != "" {
		if err := hold(path); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func hold(path string) error {
	st, err := sqlite.Open(path)
	if err != nil {
		return err
	}
	now := time.Now()
	res, err := st.Claim(context.Background(), webhook.ClaimRequest{
		Now: now, LeaseUntil: now.Add(time.Hour), Limit: 100, PerEndpoint: 100, Owner: st.Owner()})
	if err != nil {
		return err
	}
	fmt.Println("holding", len(res.Claims))
	select {}
}

func TestTheDeadAreFollowedAtOnceAndTheLivingAreLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "webhooks.db")
	st, err := sqlite.Open(path)
	require.NoError(t, err)
	receiver := webhooktest.NewReceiver(t)
	d, err := webhook.New(st, webhook.Config{PollInterval: 50 * time.Millisecond})
	require.NoError(t, err)
	ctx := t.Context()
	_, err = d.CreateEndpoint(ctx, receiver.Endpoint())
	require.NoError(t, err)
	sent, err := d.SendBatch(ctx, []webhook.Event{{Type: "a", Payload: []byte("1")}, {Type: "a", Payload: []byte("2")}})
	require.NoError(t, err)

	holder := exec.CommandContext(ctx, os.Args[0])
	holder.Env = append(os.Environ(), "WEBHOOK_TEST_HOLDER="+path)
	out, err := holder.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, holder.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "holding 2", strings.TrimSpace(line))

	freed, err := st.FreeLeases(ctx, time.Now())
	require.NoError(t, err)
	require.Zero(t, freed, "its owner lives")
	warnings, err := d.Check(ctx)
	require.NoError(t, err)
	require.Contains(t, fmt.Sprint(warnings), "leased by other processes")
	require.NoError(t, holder.Process.Kill())
	_ = holder.Wait()

	run, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	died := time.Now()
	go func() { ended <- d.Run(run) }()
	receiver.Wait(t, 2)
	require.Less(t, time.Since(died), 5*time.Second, "the lease has an hour to go")
	require.NoError(t, d.Idle(ctx))
	cancel()
	require.NoError(t, <-ended)
	for _, r := range sent {
		delivery, err := d.GetDelivery(ctx, r.DeliveryIDs[0])
		require.NoError(t, err)
		require.Equal(t, webhook.StateSucceeded, delivery.State)
		require.Len(t, delivery.Attempts, 2)
		require.Equal(t, webhook.AttemptInterrupted, delivery.Attempts[0].Status)
	}
	storetest.CheckInvariants(t, st)
	require.NoError(t, st.Close())
	left, err := filepath.Glob(path + "-owner-*")
	require.NoError(t, err)
	require.LessOrEqual(t, len(left), 1, "lock files of the dead are removed")
}

func TestAClosedStoresLeasesAreFreeAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "webhooks.db")
	first, err := sqlite.Open(path)
	require.NoError(t, err)
	d, err := webhook.New(first, webhook.Config{})
	require.NoError(t, err)
	_, err = d.CreateEndpoint(t.Context(), webhook.Endpoint{URL: "https://a.example"})
	require.NoError(t, err)
	_, err = d.Send(t.Context(), webhook.Event{Type: "a", Payload: []byte("1")})
	require.NoError(t, err)
	now := time.Now().UTC()
	request := webhook.ClaimRequest{Now: now, LeaseUntil: now.Add(time.Hour), Limit: 9, PerEndpoint: 9, Owner: first.Owner(),
		NewAttemptID: func() string { return "wa_01jv8m7qfj6xj9gkz7a4s2h8ey" }}
	res, err := first.Claim(t.Context(), request)
	require.NoError(t, err)
	require.Len(t, res.Claims, 1)

	second, err := sqlite.Open(path)
	require.NoError(t, err)
	defer second.Close()
	require.NotEqual(t, first.Owner(), second.Owner())
	freed, err := second.FreeLeases(t.Context(), now)
	require.NoError(t, err)
	require.Zero(t, freed)
	require.NoError(t, first.Close())
	freed, err = second.FreeLeases(t.Context(), now)
	require.NoError(t, err)
	require.Equal(t, 1, freed)
	freed, err = second.FreeLeases(t.Context(), now)
	require.NoError(t, err)
	require.Zero(t, freed)
	request.Owner = second.Owner()
	res, err = second.Claim(t.Context(), request)
	require.NoError(t, err)
	require.Len(t, res.Claims, 1)
	require.Len(t, res.Interrupted, 1)
}
