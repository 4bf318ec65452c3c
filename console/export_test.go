package console

// Patterns returns the routes of the pages and of the API.
func Patterns() (pages, api []string) {
	for _, r := range pageRoutes() {
		pages = append(pages, r.pattern)
	}
	for _, r := range apiRoutes() {
		api = append(api, r.pattern)
	}
	return pages, api
}
