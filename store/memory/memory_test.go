package memory_test

import (
	"testing"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/store/memory"
	"github.com/outhook/webhook/store/storetest"
)

func open(*testing.T) webhook.Store { return memory.New() }

func TestStore(t *testing.T) { storetest.Run(t, open) }

func TestModel(t *testing.T) { storetest.RunModel(t, open) }

func TestFaults(t *testing.T) { storetest.RunFaults(t, open) }
