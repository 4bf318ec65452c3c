// Package store is the page for those who write a store. The contract itself, rule by rule, stands above
// [webhook.Store]; this page says what is behind the rules, and storetest.Run holds an implementation
// to both.
package store

import "github.com/outhook/webhook"

// Store is what a store implements. It is declared, with its rules, in the root package, which consumes
// it.
type Store = webhook.Store
