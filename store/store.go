// Package store is the page for those who write a store. The contract, rule by rule, stands above
// [webhook.Store]. This page says what is behind the rules and settles what they leave open;
// package storetest holds an implementation to both. Package memory, beside it, is the plainest store
// there is: read it along with this page.
//
// # One time does the work of a state machine
//
// A delivery row is claimable when it is pending and its NextAt has come. Due now, due later, leased and
// abandoned are the same column at different times, so no job has to rescue rows, and a process that
// dies needs nobody to notice. DueAt is the same time without leases: what people want to see.
//
//	                 state      NextAt         DueAt     LeasedBy   Lease
//	sent             pending    due            due       –          0
//	handed over      pending    end of lease   due       sender     1
//	claimed          pending    end of lease   due       claimer    +1
//	outcome, retry   pending    next try       next try  –          same
//	returned         pending    DueAt          same      –          same
//	outcome, final   final      –              –         –          same
//	canceled         final      same           –         same       same
//
// A delivery is leased while LeasedBy is set and NextAt is ahead. That holds for a canceled one too:
// its attempt is still under way and will be recorded. Requeue and Prune leave what is leased alone.
//
// # Leases and fencing
//
// Clocks end leases; the counter decides who is right. An outcome holds the live lease if its number is
// the row's and LeasedBy is set, whatever the clock says: while nobody claimed the row anew, nobody
// else can be sending it. A Claim that takes a row whose LeasedBy is set knows that an attempt was
// lost. It first records that one as interrupted, with the trigger and number it had been claimed with,
// then claims the row for the next number.
//
// So a result may come late. What it may do:
//
//	                              live lease, pending   any other case
//	attempt succeeded             applied               applied
//	attempt that did not          applied               recorded only
//	no attempt (a wait, an end)   applied               nothing
//
// Applied means that the row takes state, times and counts of the outcome. Recorded means an attempt row
// and, unless it was interrupted, the endpoint's health and counters. The outcome of the row's own
// lease always frees the lease, even when the row was canceled meanwhile; that of an older lease never
// touches the newer one, even when it succeeded and the row is final now. A second success does not
// move the time at which the delivery was finished.
//
// An attempt row is numbered when it is recorded: it takes the number of the interrupted row in whose
// place it comes, else one more than there are. This is the number that its claim announced, except
// where an attempt of a canceled delivery ends after a new round began. Numbers have no holes.
//
// A trigger belongs to one attempt: once that is recorded, interrupted or not, the next is automatic,
// and the bulk retry's ID is gone. A wait without an attempt leaves both. [webhook.TriggerUnpause] is
// never the row's own: Claim reports it in place of initial and automatic when DueAt is not after the
// endpoint's ReleasedAt. What Claim reported is kept with the lease, for the case that it is lost.
//
// A retry of a pending row whose lease ran out makes it due now and leaves LeasedBy, Lease and trigger, so
// that the next Claim still records what was lost. A retry of a finished row begins a round: Failed is
// 0, all other counts go on, and any lease that ran out is forgotten.
//
// # Repeating
//
// A caller whose commit failed without an answer commits the same batch again. An event that is there
// by its ID answers with its receipt, under whatever generation, and not as a duplicate. An outcome whose
// lease has an attempt row that Claim did not write answers what it answered then: keep that answer with the
// row. An outcome without an attempt is known by the last lease that ended so. Refusals are not
// promises: a group that was refused is judged anew.
//
// A replay adds deliveries to an event that is there: the one event of its group, by ID. Which endpoints
// have one already is decided inside the transaction, so that two replays at once add one. Its answer to a
// repetition is that of the first time because a delivery that is there under the ID given is its own.
// What erasure or another generation would refuse is only what is still to be added.
//
// Where several processes share the store, a transaction of a user's may stay open that has stored an event
// with an idempotency key. Whether the key is taken is not known before it ends, so a group with the same
// key is answered [webhook.SendBusy], without waiting: the others in the batch have nothing to do with it.
//
// # Generation
//
// Which endpoints an event goes to is decided in the dispatcher, from its copy of the endpoints. The
// generation makes that safe: a group computed from another one than is current in that very
// transaction is refused, the dispatcher catches up by SyncEndpoints, and matches again. Hence every
// change of an endpoint raises it, and SyncEndpoints tells of deletions too. Health, which Commit
// keeps, does not raise it. A tenant's endpoints that Erase removes leave rows behind that have an ID, a
// tenant and the state deleted, and nothing else; only SyncEndpoints shows them.
//
// # Claims at a cost that does not grow
//
// The obvious query, the earliest pending rows whose endpoint is enabled, goes through every row that it
// must not return: a backlog of a million held rows makes each claim take seconds. Keep instead a small head
// for each endpoint with pending rows: a time that is never later than its earliest NextAt. Claim goes
// through the heads that are due, takes a few rows of each endpoint by an index on (endpoint, NextAt, ID),
// and puts the head where the endpoint's next row is. A head that is too early costs one look and is
// put right by it; a head that is too late hides rows, which is why it must never be. Endpoints that are
// paused, disabled or deleted have no head that Claim sees. An ordered endpoint's head is its first pending
// row by ID, and waits for every lease that it has.
//
// Fair means that no endpoint waits for the end of another's backlog: begin with the endpoint that has
// waited longest and take no more of each than the caller allows. Package memory even takes one delivery of
// each before the second of any.
//
// # Counters
//
// Stats adds up small rows that every write keeps, by endpoint and state, and by endpoint and hour. The former
// count the rows that there are: what is retried leaves its final state, what is pruned leaves the counts.
// The hours count attempts when their results are recorded, by CompletedAt, interrupted ones never; an
// hour that lies before FinishedBefore may be dropped.
//
// # Faults
//
// Let the caller tell three kinds apart:
//
//   - [*webhook.ItemError] for what one item holds, such as a delivery to an endpoint that the store has
//     never seen. The dispatcher then tries the items of the batch one by one.
//   - [webhook.ErrNotFound], [webhook.ErrConflict], [webhook.ErrInvalid] and [webhook.ErrClosed], wrapped,
//     where they fit; and the context's own error where that ended.
//   - Everything else as it is: busy, full, broken, unreachable. All who wait for the batch get it.
//
// An outcome or a return whose delivery is gone is no fault: it was pruned or erased, and the answer is
// that nothing was applied. A store whose keys are shorter than IDs may meet one that it cannot tell from
// another: it answers [webhook.SendTaken] or Taken, stores nothing of that item, and the caller gives new
// IDs.
//
// # What goes in and comes out
//
// A batch and all it points to belong to the store from Commit on; the caller does not change them any
// more. What a view returns belongs to the caller, payloads excepted: those, and the event of a claim,
// may be shared and are only read. UpdateEndpoint hands its closure a copy.
//
// After Erase an attempt of that event that ends late is recorded without headers and preview.
//
// # More than the contract
//
// A store may offer more by further methods, which the dispatcher looks for: a clock that all its users share
// ([webhook.ClockStore]), a way to be woken when another process has committed ([webhook.ListenStore]), a count of
// the processes that deliver ([webhook.PeerStore]), upkeep such as checkpoints, knowledge of which leases
// belong to the dead ([webhook.OwnerStore]), and several commits at a time ([webhook.ParallelStore]).
// [webhook.BulkStore] keeps bulk retries; storetest.Run holds a store that has it to its rules. None of it is
// needed to be correct: without them the dispatcher uses its own clock, polls, waits for leases to end, and
// commits one batch after the other. Close, if there is one, may be called twice.
package store

import "github.com/outhook/webhook"

// Store is what a store implements. It is declared, with its rules, in the root package, which consumes
// it.
type Store = webhook.Store
