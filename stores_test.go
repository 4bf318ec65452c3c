package webhook_test

import (
	"context"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/memory"
)

// slowClaims is a store far away: the answer to a Claim takes its time.
type slowClaims struct {
	webhook.Store
	delay time.Duration
}

func (s *slowClaims) Claim(ctx context.Context, r webhook.ClaimRequest) (webhook.ClaimResult, error) {
	res, err := s.Store.Claim(ctx, r)
	<-time.After(s.delay)
	return res, err
}

// parallelStore takes so many commits at a time, each of which takes its time.
type parallelStore struct {
	*memory.Store
	commits int
	delay   time.Duration
}

func (s *parallelStore) Commits() int { return s.commits }

func (s *parallelStore) Commit(ctx context.Context, b webhook.Batch) (webhook.Result, error) {
	<-time.After(s.delay)
	return s.Store.Commit(ctx, b)
}
