package console

import (
	_ "embed"
)

//go:embed openapi.json
var openAPI []byte

func (c *call) openAPI() error {
	c.w.Header().Set("Content-Type", "application/json")
	_, _ = c.w.Write(openAPI)
	return nil
}
