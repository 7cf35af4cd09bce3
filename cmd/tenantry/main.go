// Tenantry is an account-management server for communications platforms; this
// one program is the server and its command line.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/cli"
	"github.com/tenantry/tenantry/internal/config"
)

type program struct {
	Serve   app.ServeCommand   `cmd:"" group:"Run a server:" help:"Run the server."`
	Dev     app.DevCommand     `cmd:"" group:"Run a server:" help:"Run a fresh stand-in for development and print its keys."`
	Migrate app.MigrateCommand `cmd:"" group:"Run a server:" help:"Bring a database to the schema of this program."`
	Copy    app.CopyCommand    `cmd:"" group:"Run a server:" help:"Move an installation from SQLite to PostgreSQL."`

	Accounts cli.Accounts `cmd:"" group:"Call a server:" help:"List, create and change managed accounts."`
	Channels cli.Channels `cmd:"" group:"Call a server:" help:"Show and hand out outbound channels."`
	Users    cli.Users    `cmd:"" group:"Call a server:" help:"List and remove the users of an organization."`
	Balance  cli.Balance  `cmd:"" group:"Call a server:" help:"Show the balance of the key's own account."`
	Messages cli.Messages `cmd:"" group:"Call a server:" help:"Send messages and see what became of them."`

	Operator cli.Operator `cmd:"" group:"Run a server:" help:"Operate a server: approve managers, block and cancel accounts, manage users."`

	Profile    cli.Profile    `cmd:"" group:"Set up:" help:"Keep servers and keys under names."`
	Doctor     cli.Doctor     `cmd:"" group:"Set up:" help:"Say what is wrong with the set-up, and what to do about it."`
	Completion cli.Completion `cmd:"" group:"Set up:" help:"Print completion for a shell."`
	Version    cli.Version    `cmd:"" group:"Set up:" help:"Print the version."`
	Complete   cli.Complete   `cmd:"" name:"__complete" hidden:""`
}

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	return cli.Main(ctx, &program{}, os.Args[1:], cli.Standard(),
		kong.Description("An account-management server for communications platforms, and its command line. It works with Telnyx SDKs, and the commands with Telnyx."),
		kong.Configuration(config.File),
	)
}
