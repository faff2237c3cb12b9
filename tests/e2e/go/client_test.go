// Package client drives a running service the way an orchestrator does: with the
// generated stubs, the published retry policy and keepalive, and nothing else.
//
// SANDBOX_GRPC is the address of the service.
package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // The service config's health check needs it.
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"

	sandboxv1 "miosa.dev/sandbox/v1"
)

const (
	serviceConfigPath = "../../../protos/service_config.json"

	// A call's deadline. Every call has one, also those that should be quick: a
	// server that never answers must not hold its caller for ever.
	callLimit = 60 * time.Second
)

// The most often that gRPC for Go lets a client ask whether the server is there.
var pings = keepalive.ClientParameters{
	Time:                10 * time.Second,
	Timeout:             3 * time.Second,
	PermitWithoutStream: true,
}

// connections counts the transports that a channel has had.
type connections struct {
	begun atomic.Int32
	ended atomic.Int32
}

func (c *connections) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (c *connections) HandleRPC(context.Context, stats.RPCStats)                         {}
func (c *connections) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (c *connections) HandleConn(_ context.Context, event stats.ConnStats) {
	switch event.(type) {
	case *stats.ConnBegin:
		c.begun.Add(1)
	case *stats.ConnEnd:
		c.ended.Add(1)
	}
}

// dial opens a channel as protos/README.md advises, that ends with the test.
func dial(t *testing.T, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	address := os.Getenv("SANDBOX_GRPC")
	if address == "" {
		t.Fatal("SANDBOX_GRPC is not set")
	}
	serviceConfig, err := os.ReadFile(serviceConfigPath)
	if err != nil {
		t.Fatal(err)
	}
	options = append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(string(serviceConfig)),
		grpc.WithKeepaliveParams(pings),
	}, options...)
	conn, err := grpc.NewClient("dns:///"+address, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// call returns the context of one call: who is calling, and for how long.
func call(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	t.Cleanup(cancel)
	return metadata.AppendToOutgoingContext(ctx,
		"x-miosa-tenant-id", "go-client",
		"x-miosa-user-id", strings.ToLower(t.Name()[:min(len(t.Name()), 40)]),
	)
}

// create makes a sandbox that is destroyed when the test ends, however it ends.
func create(t *testing.T, client sandboxv1.SandboxServiceClient, request *sandboxv1.CreateRequest) *sandboxv1.Sandbox {
	t.Helper()
	response, err := client.Create(call(t), request)
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	sandbox := response.GetSandbox()
	t.Cleanup(func() {
		if _, err := client.Destroy(call(t), &sandboxv1.DestroyRequest{SandboxId: sandbox.GetSandboxId()}); err != nil {
			t.Errorf("Destroy: %v", err)
		}
	})
	return sandbox
}

// shell returns a program that is a command line.
func shell(command string) *sandboxv1.Program {
	return &sandboxv1.Program{Kind: &sandboxv1.Program_ShellCommand{ShellCommand: command}}
}

// result is what an exec left behind.
type result struct {
	stdout     []byte
	stderr     []byte
	exited     *sandboxv1.ExecExited
	heartbeats int
}

// read reads an exec to its end, and checks on the way what a stream promises:
// first `started`, no hole in the output, one last `exited`. It calls onOutput, if
// given, for each output when it arrives.
func read(stream grpc.ServerStreamingClient[sandboxv1.ExecResponse], onOutput func(*sandboxv1.ExecOutput)) (result, error) {
	var got result
	for first := true; ; first = false {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			if got.exited == nil {
				return got, errors.New("the stream ended without exited")
			}
			return got, nil
		}
		if err != nil {
			return got, err
		}
		event := response.GetEvent()
		if got.exited != nil {
			return got, fmt.Errorf("an event after exited: %v", event)
		}
		if (event.GetStarted() != nil) != first {
			return got, fmt.Errorf("started is the first event and no other, got %v", event)
		}
		switch kind := event.GetKind().(type) {
		case *sandboxv1.ExecEvent_Output:
			into := &got.stdout
			if kind.Output.GetStream() == sandboxv1.OutputStream_OUTPUT_STREAM_STDERR {
				into = &got.stderr
			}
			if at := uint64(len(*into)); kind.Output.GetOffset() != at {
				return got, fmt.Errorf("output at offset %d after %d bytes", kind.Output.GetOffset(), at)
			}
			*into = append(*into, kind.Output.GetData()...)
			if onOutput != nil {
				onOutput(kind.Output)
			}
		case *sandboxv1.ExecEvent_Heartbeat:
			got.heartbeats++
		case *sandboxv1.ExecEvent_Gap:
			return got, fmt.Errorf("a gap for a reader that never lagged: %v", kind.Gap)
		case *sandboxv1.ExecEvent_Exited:
			got.exited = kind.Exited
		}
	}
}

// run runs a program to its end.
func run(t *testing.T, client sandboxv1.SandboxServiceClient, request *sandboxv1.ExecRequest) result {
	t.Helper()
	stream, err := client.Exec(call(t), request)
	if err != nil {
		t.Fatalf("Exec: %v", err)
	}
	got, err := read(stream, nil)
	if err != nil {
		t.Fatalf("Exec: %v", err)
	}
	return got
}
