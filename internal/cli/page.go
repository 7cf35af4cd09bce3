package cli

import (
	"context"
	"iter"

	"github.com/tenantry/tenantry/client"
)

// Paged chooses how much of a list is shown.
type Paged struct {
	Page int64 `group:"Paging" default:"1" help:"Page to show."`
	Size int64 `group:"Paging" placeholder:"N" help:"How many a page has, 1 to 250; default 50, with --all 250."`
	All  bool  `group:"Paging" help:"Go through all pages; with --json print one object a line."`
}

// number and size are what the server is asked for.
func (p Paged) place() (number, size int64, err error) {
	if p.Page < 1 {
		return 0, 0, usagef("--page counts from 1")
	}
	if p.Size < 0 || p.Size > 250 {
		return 0, 0, usagef("--size has to be from 1 to 250")
	}
	number, size = p.Page, p.Size
	if size == 0 {
		size = 50
		if p.All {
			size = 250
		}
	}
	return number, size, nil
}

// show prints a page of a list, or all of it.
func show[T any](x *session, p Paged, v view[T], page func() (*client.Page[T], error), all iter.Seq2[*T, error]) error {
	if p.All {
		return showItems(x.t, x.out, v, all)
	}
	one, err := page()
	if err != nil {
		return err
	}
	return showPage(x.t, x.out, v, one)
}

// every goes through a list whose service has no All.
func every[T any](ctx context.Context, first func() (*client.Page[T], error)) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		page, err := first()
		for ; err == nil && page != nil; page, err = page.Next(ctx) {
			for i := range page.Data {
				if !yield(&page.Data[i], nil) {
					return
				}
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}
