// Package cli has the commands that talk to a server, as values over the client
// package: one file per noun, and what all of them share (flags of the server and
// of the output, tables, errors, paging, bulk runs) written once.
package cli

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Main parses the arguments into program, a pointer to a struct of commands, runs
// the command that was chosen and returns the exit code. Commands that take a
// *Terminal, a context or the *kong.Kong get them.
func Main(ctx context.Context, program any, arguments []string, t *Terminal, options ...kong.Option) int {
	if len(arguments) == 0 {
		Main(ctx, program, []string{"--help"}, t, options...)
		return exitUsage
	}
	exited := -1
	parser, err := kong.New(program, append(options,
		kong.Name("tenantry"),
		kong.Writers(t.Out, t.Err),
		kong.Exit(func(code int) { exited = code }),
		kong.PostBuild(ungroup),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(t),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100, NoExpandSubcommands: true}),
		kong.WithHyphenPrefixedParameters(true), // --rate-limit -1, --sort -email
	)...)
	if err != nil {
		return t.report(err)
	}
	t.json = slices.Contains(arguments, "--json")
	command, err := parser.Parse(arguments)
	if exited >= 0 { // --help has been printed
		return exited
	}
	if err != nil {
		return t.report(misuse(err))
	}
	for _, flag := range command.Flags() {
		if flag.Name == "color" {
			t.color = flag.Target.String()
		}
	}
	if err := command.Run(parser); err != nil {
		return t.report(err)
	}
	return exitOK
}

// ungroup keeps the headings of the first level from the commands below it.
func ungroup(parser *kong.Kong) error {
	for _, noun := range parser.Model.Children {
		for _, verb := range noun.Children {
			verb.Group = &kong.Group{Key: "commands", Title: "Commands:"}
		}
	}
	return nil
}

// misuse makes a usage error of what the parser says.
func misuse(err error) error {
	hint := "Try: tenantry --help"
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil && parse.Context.Selected() != nil {
		hint = "Try: tenantry " + parse.Context.Selected().FullPath()[len("tenantry "):] + " --help"
	}
	// A flag that may be left away has "" among its values.
	text := strings.Replace(err.Error(), `one of "",`, "one of ", 1)
	return &usageError{text: text, hint: hint}
}
