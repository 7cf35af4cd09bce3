package portal

import (
	"strconv"
	"strings"

	"github.com/tenantry/tenantry/internal/service"
)

const channelsPath = Prefix + "channels"

var channelRoutes = []Route{
	{"channels", "GET " + channelsPath, Managers, (*Portal).channels},
}

// channelPage is the pool as a picture, and who has how much of it.
type channelPage struct {
	Pool   *pool
	Shares []service.ChannelShare
	// Bars are what the picture shows, from left to right.
	Bars []bar
	// From is where this page begins, Next where the next one does, "" for none.
	From, Next string
}

// bar is one share of the picture, in thousandths of its width.
type bar struct {
	Kind, Label string
	X, Width    float64
	// Used is how much of the width is in use now.
	Used float64
}

// sharesOnPage are how many accounts one page shows; barsShown how many of them have
// a bar of their own.
const (
	sharesOnPage = 25
	barsShown    = 12
)

func (p *Portal) channels(v *visit) (any, error) {
	pool, err := p.pool(v)
	if err != nil {
		return nil, err
	}
	from := v.query("from")
	if v.problem != nil {
		from = v.text("at")
	}
	shares, next, err := p.service.ChannelShares(v.Context(), v.actor, readPlace(from), sharesOnPage)
	if err != nil {
		return nil, err
	}
	largest := shares
	if from != "" {
		if largest, _, err = p.service.ChannelShares(v.Context(), v.actor, service.SharePlace{}, barsShown); err != nil {
			return nil, err
		}
	}
	return page{template: "channels", title: "Channels", data: channelPage{pool, shares, bars(pool, largest), from, writePlace(next)}}, nil
}

// bars are the largest shares, all others together, and what is free.
func bars(pool *pool, shares []service.ChannelShare) (all []bar) {
	if pool.Size <= 0 {
		return nil
	}
	at, rest := 0.0, pool.Allocated
	width := func(channels int64) float64 { return float64(channels) / float64(pool.Size) * 1000 }
	for i, s := range shares {
		if i == barsShown || s.ChannelLimit == 0 {
			break
		}
		all = append(all, bar{"share", s.OrganizationName + ": " + count(s.ChannelLimit) + ", in use " + count(s.InUse), at, width(s.ChannelLimit), width(min(s.InUse, s.ChannelLimit))})
		at, rest = at+width(s.ChannelLimit), rest-s.ChannelLimit
	}
	if rest > 0 {
		all = append(all, bar{Kind: "rest", Label: "All others: " + count(rest), X: at, Width: width(rest)})
		at += width(rest)
	}
	if free := pool.Free(); free > 0 {
		all = append(all, bar{Kind: "free", Label: "Free: " + count(free), X: at, Width: width(free)})
	}
	return all
}

// readPlace is a place in the list of shares, as writePlace puts it into a URL; the
// beginning for anything else.
func readPlace(text string) service.SharePlace {
	limit, number, _ := strings.Cut(text, ".")
	at := service.SharePlace{}
	var err, other error
	at.Limit, err = strconv.ParseInt(limit, 10, 64)
	at.Number, other = strconv.ParseInt(number, 10, 64)
	if err != nil || other != nil || at.Limit < 0 || at.Number < 1 {
		return service.SharePlace{}
	}
	return at
}

func writePlace(at service.SharePlace) string {
	if at.Number == 0 {
		return ""
	}
	return strconv.FormatInt(at.Limit, 10) + "." + strconv.FormatInt(at.Number, 10)
}
