package bench

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"

	"github.com/ringkeep/ringkeep/netlab/report"
)

var (
	//go:embed page.html
	pageText string
	//go:embed page.css
	pageStyle string

	pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{"number": number, "bound": bound, "px": px}).Parse(pageText))
)

// page is what the template asks for.
type page struct {
	*Report
	Policy string
	Style  template.CSS
	Groups []pageGroup
}

type pageGroup struct {
	Title  string
	Plots  []plot
	Failed []string
}

// plot is one metric of a group.
type plot struct {
	Metric string
	Rows   []plotRow
}

type plotRow struct {
	Label             string
	Median, Low, High float64
	Most              float64 // of the plot
	Ours              bool
	Ratio             string // of the daemon's to this one
}

// plotWidth is in pixels.
const plotWidth = 480

// px is a place on a plot; what is below 0, as a difference can be, is at its edge.
func px(v, most float64) string { return fmt.Sprintf("%.1f", max(0, v/most)*plotWidth) }

// HTML writes the report as one page that loads nothing.
func (r *Report) HTML(w io.Writer) error {
	style := report.Style() + pageStyle
	p := page{Report: r, Policy: report.Policy(style), Style: template.CSS(style)}
	for _, group := range r.groups() {
		p.Groups = append(p.Groups, r.pageGroup(group))
	}
	return pageTemplate.Execute(w, p)
}

func (r *Report) pageGroup(group []*Series) pageGroup {
	g := pageGroup{Title: string(group[0].Kind) + spaced(group[0].group())}
	for _, m := range order {
		one := plot{Metric: m}
		most := 0.0
		for _, s := range group {
			if v, ok := s.Median[m]; ok {
				most = max(most, s.High[m])
				one.Rows = append(one.Rows, plotRow{
					Label: s.label(), Median: v, Low: s.Low[m], High: s.High[m], Ours: s.Forwarder == Ringkeep, Ratio: r.besides(group[0], s, m),
				})
			}
		}
		for i := range one.Rows {
			one.Rows[i].Most = max(most, 1e-9)
		}
		if len(one.Rows) > 0 {
			g.Plots = append(g.Plots, one)
		}
	}
	for _, s := range group {
		if s.Failed != "" {
			g.Failed = append(g.Failed, s.label()+": "+s.Failed)
		}
	}
	return g
}

// besides is the ratio of the first series, the daemon's, to another.
func (r *Report) besides(ours, other *Series, metric string) string {
	for _, ratio := range r.Ratios {
		if ratio.Name == ours.Name && ratio.Beside == other.Forwarder && ratio.Metric == metric {
			return fmt.Sprintf("%.2f (%.2f to %.2f)", ratio.Median, ratio.Low, ratio.High)
		}
	}
	return ""
}
