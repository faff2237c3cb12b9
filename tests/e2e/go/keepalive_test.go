package client

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	sandboxv1 "miosa.dev/sandbox/v1"
)

// Long enough for a server of default settings to have called three pings too many
// and closed the connection.
const quiet = 35 * time.Second

// A program that computes for a while says nothing. A client that meanwhile asks
// every 10 s whether the server is there must not be sent away for it.
func TestQuietExecKeepsItsConnection(t *testing.T) {
	t.Parallel()
	seen := &connections{}
	client := sandboxv1.NewSandboxServiceClient(dial(t, grpc.WithStatsHandler(seen)))
	id := create(t, client, &sandboxv1.CreateRequest{}).GetSandboxId()

	began := time.Now()
	got := run(t, client, &sandboxv1.ExecRequest{
		SandboxId: id,
		Program:   shell(fmt.Sprintf("sleep %d; echo done", int(quiet.Seconds()))),
	})
	if string(got.stdout) != "done\n" || time.Since(began) < quiet {
		t.Fatalf("after %v: %q, %v", time.Since(began), got.stdout, got.exited)
	}
	if got.heartbeats < 2 {
		t.Errorf("%d heartbeats in %v, want one each 15 s", got.heartbeats, quiet)
	}
	if begun, ended := seen.begun.Load(), seen.ended.Load(); begun != 1 || ended != 0 {
		t.Errorf("%d connections begun, %d ended: the server sent the client away", begun, ended)
	}
	t.Logf("%d heartbeats in %v, one connection", got.heartbeats, quiet)
}

// The same for a channel without any call: a pool keeps such channels warm.
func TestIdleChannelKeepsItsConnection(t *testing.T) {
	t.Parallel()
	seen := &connections{}
	// Without the health check of the service config, which is a call that stays.
	conn := dial(t, grpc.WithStatsHandler(seen), grpc.WithDefaultServiceConfig(`{}`))
	client := grpc_health_v1.NewHealthClient(conn)
	for _, wait := range []time.Duration{0, quiet} {
		time.Sleep(wait)
		if _, err := client.Check(call(t), &grpc_health_v1.HealthCheckRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if begun, ended := seen.begun.Load(), seen.ended.Load(); begun != 1 || ended != 0 {
		t.Errorf("%d connections begun, %d ended: the server sent the client away", begun, ended)
	}
}
