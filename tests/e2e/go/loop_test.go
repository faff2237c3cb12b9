package client

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandboxv1 "miosa.dev/sandbox/v1"
)

const page = "<!doctype html><title>shown</title>"

// A small web app, with a file of text that is not ASCII and one of nothing.
var project = map[string][]byte{
	"public/index.html":    []byte(page),
	"settings/secret.json": []byte(`{"all": "bytes", "even": "` + "\u00e9" + `"}`),
	"empty.txt":            nil,
}

// The whole of what the service is for, once, in the order an orchestrator does it.
func TestProjectIsSyncedRunShownAndDestroyed(t *testing.T) {
	t.Parallel()
	client := sandboxv1.NewSandboxServiceClient(dial(t))

	request := &sandboxv1.CreateRequest{
		IdempotencyKey: fmt.Sprintf("loop-%d", time.Now().UnixNano()),
		TemplateChoice: &sandboxv1.CreateRequest_Template{Template: "python"},
		Env:            map[string]string{"GREETING": "hello"},
		Metadata:       map[string]string{"project": "shop"},
		Lifetime:       durationpb.New(10 * time.Minute),
	}
	sandbox := create(t, client, request)
	id := sandbox.GetSandboxId()
	if sandbox.GetState() != sandboxv1.SandboxState_SANDBOX_STATE_RUNNING {
		t.Fatalf("Create answered in the state %v", sandbox.GetState())
	}
	t.Logf("created %s", id)

	again, err := client.Create(call(t), request)
	if err != nil {
		t.Fatalf("Create again: %v", err)
	}
	if again.GetSandbox().GetSandboxId() != id || !again.GetReused() {
		t.Fatalf("the same key made another sandbox: %v", again)
	}
	t.Log("created again with the same key: the same sandbox")

	receipt := sync(t, client, id, project)
	if receipt.GetAdded() != uint64(len(project)) {
		t.Fatalf("added %d of %d files: %v", receipt.GetAdded(), len(project), receipt)
	}
	receipt = sync(t, client, id, project)
	if receipt.GetUnchanged() != uint64(len(project)) || receipt.GetAdded()+receipt.GetModified() != 0 {
		t.Fatalf("a second sync of the same tree found changes: %v", receipt)
	}
	t.Logf("synced %d files, then found them unchanged", len(project))

	streamedLineByLine(t, client, id)

	// The server's output goes elsewhere, so the exec ends and the server lives on.
	served := run(t, client, &sandboxv1.ExecRequest{
		SandboxId: id,
		Program:   shell("cd app/public && python3 -m http.server 3000 >/dev/null 2>&1 &"),
	})
	if served.exited.GetExitCode() != 0 {
		t.Fatalf("starting the app: %v, %s", served.exited, served.stderr)
	}
	fetched(t, client, id)

	status, err := client.Status(call(t), &sandboxv1.StatusRequest{SandboxId: id})
	if err != nil {
		t.Fatalf("Status: %v", err)
	}
	if status.GetHealth() != sandboxv1.Health_HEALTH_HEALTHY ||
		status.GetUsage().GetMemoryUsedBytes() == 0 ||
		status.GetSandbox().GetMetadata()["project"] != "shop" ||
		status.GetPreviewState() != sandboxv1.PreviewState_PREVIEW_STATE_LISTENING {
		t.Fatalf("Status: %v", status)
	}
	t.Logf("healthy, %d bytes of memory in use", status.GetUsage().GetMemoryUsedBytes())

	later := time.Now().Add(time.Hour).Truncate(time.Second)
	extended, err := client.ExtendLifetime(call(t), &sandboxv1.ExtendLifetimeRequest{
		SandboxId: id, ExpireTime: timestamppb.New(later),
	})
	if err != nil || !extended.GetExtended() || !extended.GetExpireTime().AsTime().Equal(later) {
		t.Fatalf("ExtendLifetime to %v: %v, %v", later, extended, err)
	}
	t.Logf("lives until %v", later)

	destroyed(t, client, id)
}

// sync sends a tree of files in one call.
func sync(t *testing.T, client sandboxv1.SandboxServiceClient, id string, files map[string][]byte) *sandboxv1.SyncFilesResponse {
	t.Helper()
	stream, err := client.SyncFiles(call(t))
	if err != nil {
		t.Fatalf("SyncFiles: %v", err)
	}
	parts := []*sandboxv1.SyncFilesRequest{{Part: &sandboxv1.SyncFilesRequest_Header{
		Header: &sandboxv1.SyncFilesHeader{SandboxId: id, Root: "app"},
	}}}
	for path, content := range files {
		sum := sha256.Sum256(content)
		parts = append(parts, &sandboxv1.SyncFilesRequest{Part: &sandboxv1.SyncFilesRequest_File{
			File: &sandboxv1.SyncFileHeader{Path: path, Size: uint64(len(content)), Sha256: sum[:]},
		}})
		if len(content) > 0 {
			parts = append(parts, &sandboxv1.SyncFilesRequest{
				Part: &sandboxv1.SyncFilesRequest_Data{Data: content},
			})
		}
	}
	for _, part := range parts {
		// A server that refuses ends the stream; why is in the answer.
		if stream.Send(part) != nil {
			break
		}
	}
	receipt, err := stream.CloseAndRecv()
	if err != nil {
		t.Fatalf("SyncFiles: %v", err)
	}
	return receipt
}

// streamedLineByLine runs a program that waits between its lines for a file which
// only a second exec, sent when the first line is here, writes. Output that is held
// back until the end would wait for ever.
func streamedLineByLine(t *testing.T, client sandboxv1.SandboxServiceClient, id string) {
	t.Helper()
	stream, err := client.Exec(call(t), &sandboxv1.ExecRequest{
		SandboxId: id,
		Program: shell(`echo "$GREETING"; until test -e seen; do sleep 0.05; done
			cat app/settings/secret.json; echo oops >&2; exit 7`),
		Timeout: durationpb.New(30 * time.Second),
	})
	if err != nil {
		t.Fatalf("Exec: %v", err)
	}
	seen := false
	got, err := read(stream, func(output *sandboxv1.ExecOutput) {
		if !seen && string(output.GetData()) == "hello\n" {
			seen = true
			run(t, client, &sandboxv1.ExecRequest{SandboxId: id, Program: shell("touch seen")})
		}
	})
	if err != nil {
		t.Fatalf("Exec: %v", err)
	}
	if want := "hello\n" + string(project["settings/secret.json"]); !seen || string(got.stdout) != want {
		t.Fatalf("stdout %q, want %q", got.stdout, want)
	}
	if string(got.stderr) != "oops\n" {
		t.Fatalf("stderr %q", got.stderr)
	}
	exited := got.exited
	if exited.GetCause() != sandboxv1.Cause_CAUSE_EXIT || exited.GetExitCode() != 7 || exited.GetFault() != sandboxv1.Fault_FAULT_USER {
		t.Fatalf("exited %v", exited)
	}
	t.Log("output arrived while the program ran; it exited with 7")
}

// fetched gets the app's page from outside, and shows that it is guarded.
func fetched(t *testing.T, client sandboxv1.SandboxServiceClient, id string) {
	t.Helper()
	response, err := client.GetPreview(call(t), &sandboxv1.GetPreviewRequest{
		SandboxId: id, Wait: durationpb.New(20 * time.Second),
	})
	if err != nil {
		t.Fatalf("GetPreview: %v", err)
	}
	if response.GetPreviewState() != sandboxv1.PreviewState_PREVIEW_STATE_LISTENING {
		t.Fatalf("nothing listens: %v", response)
	}
	preview := response.GetPreview()
	status, body := get(t, preview.GetDirectUrl(), preview.GetDirectHeaders())
	if status != http.StatusOK || body != page {
		t.Fatalf("%s answered %d: %q", preview.GetDirectUrl(), status, body)
	}
	unguarded := map[string]string{}
	for name, value := range preview.GetDirectHeaders() {
		if !strings.Contains(strings.ToLower(name), "token") {
			unguarded[name] = value
		}
	}
	if len(unguarded) == len(preview.GetDirectHeaders()) {
		t.Fatalf("no token among the headers %v", preview.GetDirectHeaders())
	}
	if status, body := get(t, preview.GetDirectUrl(), unguarded); status < 400 || body == page {
		t.Fatalf("without its token the preview answered %d", status)
	}
	t.Logf("fetched the page through %s", preview.GetDirectUrl())
}

// get fetches a page with these headers.
func get(t *testing.T, url string, headers map[string]string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(call(t), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// destroyed destroys a sandbox twice, and looks at what is told of it afterwards.
func destroyed(t *testing.T, client sandboxv1.SandboxServiceClient, id string) {
	t.Helper()
	for _, already := range []bool{false, true} {
		response, err := client.Destroy(call(t), &sandboxv1.DestroyRequest{SandboxId: id})
		if err != nil {
			t.Fatalf("Destroy: %v", err)
		}
		if response.GetAlreadyEnded() != already {
			t.Fatalf("already_ended is %v, want %v", response.GetAlreadyEnded(), already)
		}
	}
	status, err := client.Status(call(t), &sandboxv1.StatusRequest{SandboxId: id})
	if err != nil {
		t.Fatalf("Status: %v", err)
	}
	end := status.GetSandbox().GetEnd()
	if status.GetSandbox().GetState() != sandboxv1.SandboxState_SANDBOX_STATE_ENDED || end.GetCause() != sandboxv1.EndCause_END_CAUSE_DESTROYED {
		t.Fatalf("after Destroy: %v", status)
	}
	t.Log("destroyed; its tombstone says so")
}
