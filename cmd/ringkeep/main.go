// Command ringkeep does what keepalived does, on AF_PACKET rings, driven by
// unmodified keepalived.conf files; and it carries its own laboratory.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the Makefile from git describe.
var version = "unknown"

// exitCode is what a command ends with when its error carries no code of its own:
// bad input or a host that cannot do it.
const exitCode = 2

// coded is an error that chooses the exit code.
type coded struct {
	error
	code int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd := root()
	cmd.SetArgs(withTestFile(os.Args[1:]))
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return
	}
	code := exitCode
	var c coded
	if errors.As(err, &c) {
		code = c.code
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(os.Stderr, "ringkeep:", text)
	}
	os.Exit(code)
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ringkeep",
		Short: "VRRP failover and LVS load balancing on AF_PACKET rings",
		Long: `ringkeep does what keepalived does - VRRP failover of virtual IPs, LVS load
balancing with health checks, tracking and notification scripts - in userspace on
AF_PACKET rings, driven by unmodified keepalived.conf files. Its lab runs several
nodes on one machine in network namespaces.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.AddCommand(runCommand(), reloadCommand(), checkCommand(), genhashCommand(), simCommand(), dumpCommand(), replayCommand(), labCommand(), labEnterCommand(), labPingCommand(), benchCommand(), versionCommand())
	cmd.AddCommand(statusCommand(), explainCommand(), steerCommand("drain"), steerCommand("undrain"), steerCommand("fail"), steerCommand("evict"))
	return cmd
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run:   func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), "ringkeep", version) },
	}
}
