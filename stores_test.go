package webhook_test

import (
	"context"
	"time"

	"github.com/outhook/webhook"
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
