// Tenantry is an account-management server for communications platforms; this
// one program is the server and its command line.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/alecthomas/kong"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/cli"
	"github.com/tenantry/tenantry/internal/config"
)

type program struct {
	Serve    app.ServeCommand `cmd:"" help:"Run the server."`
	Dev      app.DevCommand   `cmd:"" help:"Run a fresh stand-in for development and print its keys."`
	Operator cli.Operator     `cmd:"" help:"Operate a server: approve managers, block and cancel accounts, manage users."`
	Version  app.Version      `cmd:"" help:"Print the version."`
}

func main() { os.Exit(run()) }

// run returns the exit code: 0 done, 1 refused or failed, 2 wrong usage.
func run() int {
	var p program
	parser, err := kong.New(&p,
		kong.Name("tenantry"),
		kong.Description("An account-management server for communications platforms. It works with Telnyx SDKs."),
		kong.Configuration(config.File),
		kong.BindTo(context.Background(), (*context.Context)(nil)),
		kong.Bind(&p.Operator),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.WithHyphenPrefixedParameters(true), // --rate-limit -1
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, "tenantry:", err)
		return 2
	}
	command, err := parser.Parse(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "tenantry: %v\nTry: tenantry --help\n", err)
		return 2
	}
	if err := command.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "tenantry:", err)
		return 1
	}
	return 0
}
