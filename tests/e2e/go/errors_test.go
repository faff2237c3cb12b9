package client

import (
	"context"
	"slices"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	sandboxv1 "miosa.dev/sandbox/v1"
)

// detail returns the first detail of this type, or nil.
func detail[T any](err error) *T {
	for _, any := range status.Convert(err).Details() {
		if found, ok := any.(*T); ok {
			return found
		}
	}
	return nil
}

// A caller branches on reasons, so they have to arrive as Go reads them.
func TestFailuresSayWhyInDetails(t *testing.T) {
	t.Parallel()
	client := sandboxv1.NewSandboxServiceClient(dial(t))
	ctx := call(t)
	cases := []struct {
		name   string
		call   func() error
		code   codes.Code
		reason sandboxv1.ErrorReason
		field  string
	}{
		{
			name: "a sandbox that is not there",
			call: func() error {
				_, err := client.Status(ctx, &sandboxv1.StatusRequest{SandboxId: "nosuchsandbox"})
				return err
			},
			code:   codes.NotFound,
			reason: sandboxv1.ErrorReason_ERROR_REASON_SANDBOX_NOT_FOUND,
		},
		{
			name: "a field that breaks a rule",
			call: func() error {
				_, err := client.Create(ctx, &sandboxv1.CreateRequest{
					InitialFiles: []*sandboxv1.InitialFile{{Path: "fine"}, {Path: "nul\x00"}},
				})
				return err
			},
			code:   codes.InvalidArgument,
			reason: sandboxv1.ErrorReason_ERROR_REASON_INVALID_REQUEST,
			field:  "initial_files[1].path",
		},
		{
			name: "a stream that is refused before its first event",
			call: func() error {
				stream, err := client.Exec(ctx, &sandboxv1.ExecRequest{SandboxId: "nosuchsandbox"})
				if err == nil {
					_, err = stream.Recv()
				}
				return err
			},
			code:   codes.InvalidArgument,
			reason: sandboxv1.ErrorReason_ERROR_REASON_INVALID_REQUEST,
			field:  "program",
		},
		{
			name: "a client's stream without its header",
			call: func() error {
				stream, err := client.SyncFiles(ctx)
				if err != nil {
					return err
				}
				_ = stream.Send(&sandboxv1.SyncFilesRequest{
					Part: &sandboxv1.SyncFilesRequest_Data{Data: []byte("x")},
				})
				_, err = stream.CloseAndRecv()
				return err
			},
			code:   codes.InvalidArgument,
			reason: sandboxv1.ErrorReason_ERROR_REASON_INVALID_STREAM,
		},
		{
			name: "a caller who says nothing of a tenant",
			call: func() error {
				_, err := client.List(context.Background(), &sandboxv1.ListRequest{})
				return err
			},
			code:   codes.Unauthenticated,
			reason: sandboxv1.ErrorReason_ERROR_REASON_TENANT_REQUIRED,
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := c.call()
			if status.Code(err) != c.code {
				t.Fatalf("got %v, want %v", err, c.code)
			}
			info := detail[errdetails.ErrorInfo](err)
			if "ERROR_REASON_"+info.GetReason() != c.reason.String() || info.GetDomain() != "sandbox.miosa.dev" {
				t.Fatalf("ErrorInfo %v, want %v", info, c.reason)
			}
			named := slices.ContainsFunc(
				detail[errdetails.BadRequest](err).GetFieldViolations(),
				func(violation *errdetails.BadRequest_FieldViolation) bool { return violation.GetField() == c.field },
			)
			if c.field != "" && !named {
				t.Fatalf("no violation names %q: %v", c.field, status.Convert(err).Details())
			}
			t.Logf("%s: %v", info.GetReason(), status.Convert(err).Message())
		})
	}
}

// What GetCapabilities calls not implemented answers so, and nothing else does.
func TestCallsThatAreNotServedAnswerUnimplemented(t *testing.T) {
	t.Parallel()
	client := sandboxv1.NewSandboxServiceClient(dial(t))
	capabilities, err := client.GetCapabilities(call(t), &sandboxv1.GetCapabilitiesRequest{})
	if err != nil {
		t.Fatalf("GetCapabilities: %v", err)
	}
	implemented := map[string]bool{}
	for _, rpc := range capabilities.GetRpcs() {
		implemented[rpc.GetName()] = rpc.GetImplemented()
	}
	_, err = client.Pause(call(t), &sandboxv1.PauseRequest{SandboxId: "nosuchsandbox"})
	served := status.Code(err) != codes.Unimplemented
	if said, known := implemented["miosa.sandbox.v1.SandboxService/Pause"]; !known || said != served {
		t.Fatalf("GetCapabilities says %v (%v) of Pause, which answers %v", said, known, err)
	}
	if !served && detail[errdetails.ErrorInfo](err).GetReason() != "NOT_IMPLEMENTED" {
		t.Fatalf("no reason: %v", status.Convert(err).Details())
	}
}

// The service config makes each channel ask this before it sends a call.
func TestHealthIsServing(t *testing.T) {
	t.Parallel()
	client := grpc_health_v1.NewHealthClient(dial(t))
	for _, service := range []string{"", "miosa.sandbox.v1.SandboxService"} {
		response, err := client.Check(call(t), &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil || response.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Fatalf("health of %q: %v, %v", service, response, err)
		}
	}
}
