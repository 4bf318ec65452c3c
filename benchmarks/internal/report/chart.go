package report

import (
	"fmt"
	"html"
	"strings"
)

// Sizes of the chart, in pixels.
const (
	chartWidth  = 900
	chartLabels = 330
	chartBar    = 18
	chartLine   = 26
	chartHead   = 64
)

// svg draws two bars for each contender: its CPU per delivery and its rate, relative to the bare loop.
func (r *Results) svg() []byte {
	type line struct {
		contender
		cpu, rate float64
	}
	var lines []line
	mostCPU, mostRate := 1.0, 1.0
	for _, c := range contenders {
		cpu, err1 := r.ratio(c.row, "cpu_us", "bare", "cpu_us")
		rate, err2 := r.ratio(c.row, "rate", "bare", "rate")
		if err1 != nil || err2 != nil {
			continue
		}
		lines = append(lines, line{c, cpu.Median, rate.Median})
		mostCPU, mostRate = max(mostCPU, cpu.Median), max(mostRate, rate.Median)
	}
	height := chartHead + len(lines)*chartLine + 16
	half := float64(chartWidth-chartLabels) / 2
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="12">`+"\n", chartWidth, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", chartWidth, height)
	text := func(x, y float64, attributes, s string) {
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" %s>%s</text>`+"\n", x, y, attributes, html.EscapeString(s))
	}
	text(12, 24, `font-size="15" font-weight="600" fill="#1a1a1a"`, "One delivery, relative to one bare net/http POST")
	text(chartLabels, 50, `fill="#555555"`, "CPU, sender and database (less is better)")
	text(chartLabels+half, 50, `fill="#555555"`, "deliveries a second (more is better)")
	bar := func(x, y, value, most float64, color string) {
		width := max(1, value/most*(half-60))
		fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%d" rx="2" fill="%s"/>`+"\n", x, y, width, chartBar, color)
		text(x+width+6, y+13, `fill="#1a1a1a"`, number(value))
	}
	for i, l := range lines {
		y := float64(chartHead + i*chartLine)
		color, weight := "#9aa5b1", ""
		if l.ours {
			color, weight = "#1f6feb", ` font-weight="600"`
		} else if l.row == "bare" {
			color = "#444c56"
		}
		text(chartLabels-10, y+13, `text-anchor="end" fill="#1a1a1a"`+weight, plain(l.title))
		bar(chartLabels, y, l.cpu, mostCPU, color)
		bar(chartLabels+half, y, l.rate, mostRate, color)
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

// plain takes the Markdown out of a title.
func plain(title string) string {
	title = strings.NewReplacer("*", "", "`", "").Replace(title)
	return strings.Replace(title, ", nothing stored, not signed", "", 1)
}
