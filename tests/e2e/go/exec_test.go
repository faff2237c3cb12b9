package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	sandboxv1 "miosa.dev/sandbox/v1"
)

// A user who closes the browser must not leave programs behind.
func TestCancelledExecLeavesNoProcess(t *testing.T) {
	t.Parallel()
	client := sandboxv1.NewSandboxServiceClient(dial(t))
	id := create(t, client, &sandboxv1.CreateRequest{}).GetSandboxId()

	// Told apart from whatever else sleeps. The second leaves the program's session
	// and group, as a daemon does.
	const durations = "31536[.]25|31536[.]75"
	ctx, cancel := context.WithCancel(call(t))
	defer cancel()
	stream, err := client.Exec(ctx, &sandboxv1.ExecRequest{
		SandboxId: id,
		Program:   shell("sleep 31536.25 & setsid sleep 31536.75 & echo up; wait"),
	})
	if err != nil {
		t.Fatalf("Exec: %v", err)
	}
	_, err = read(stream, func(output *sandboxv1.ExecOutput) {
		waitForSleepers(t, client, id, durations, 2)
		cancel()
	})
	if status.Code(err) != codes.Canceled {
		t.Fatalf("a cancelled Exec ended with %v", err)
	}
	waitForSleepers(t, client, id, durations, 0)
	t.Log("cancelled; nothing of it is left")
}

// waitForSleepers waits until so many processes in the sandbox are a sleep of a
// duration that matches.
func waitForSleepers(t *testing.T, client sandboxv1.SandboxServiceClient, id, durations string, want int) {
	t.Helper()
	// Only command lines that begin with sleep: not the shells that hold the text.
	count := shell(fmt.Sprintf(
		`for p in /proc/[0-9]*/cmdline; do tr '\0' ' ' <"$p" | grep -E '^sleep (%s) $'; done 2>/dev/null | wc -l`, durations,
	))
	for deadline := time.Now().Add(10 * time.Second); ; {
		got := run(t, client, &sandboxv1.ExecRequest{SandboxId: id, Program: count})
		if strings.TrimSpace(string(got.stdout)) == fmt.Sprint(want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("sleepers that run: %s, want %d; %s", got.stdout, want, got.stderr)
		}
	}
}

// Input and output are bytes, not text.
func TestStdinComesBackByteForByte(t *testing.T) {
	t.Parallel()
	client := sandboxv1.NewSandboxServiceClient(dial(t))
	id := create(t, client, &sandboxv1.CreateRequest{}).GetSandboxId()

	input := make([]byte, 1<<20)
	for i := range input {
		input[i] = byte(i ^ i>>8)
	}
	got := run(t, client, &sandboxv1.ExecRequest{
		SandboxId: id,
		Program: &sandboxv1.Program{Kind: &sandboxv1.Program_Argv{
			Argv: &sandboxv1.Argv{Args: []string{"tee", "/dev/stderr"}},
		}},
		Stdin: &sandboxv1.Stdin{Mode: sandboxv1.StdinMode_STDIN_MODE_BYTES, Data: input},
	})
	for name, output := range map[string][]byte{"stdout": got.stdout, "stderr": got.stderr} {
		if !bytes.Equal(output, input) {
			t.Errorf("%s: %d bytes with SHA-256 %x, want %d with %x",
				name, len(output), sha256.Sum256(output), len(input), sha256.Sum256(input))
		}
	}
	for _, totals := range got.exited.GetTotals() {
		if totals.GetProducedBytes() != uint64(len(input)) || totals.GetDeliveredBytes() != uint64(len(input)) {
			t.Errorf("totals %v, want %d", totals, len(input))
		}
	}
	t.Log("1 MiB went through and came back on both streams")
}

// A deadline is the caller's limit for the call: the reader leaves, and with it the
// program; the sandbox lives.
func TestDeadlineOfExecEndsTheProgramAndNotTheSandbox(t *testing.T) {
	t.Parallel()
	client := sandboxv1.NewSandboxServiceClient(dial(t))
	id := create(t, client, &sandboxv1.CreateRequest{}).GetSandboxId()

	ctx, cancel := context.WithTimeout(call(t), time.Second)
	defer cancel()
	stream, err := client.Exec(ctx, &sandboxv1.ExecRequest{SandboxId: id, Program: shell("sleep 31536.5")})
	if err != nil {
		t.Fatalf("Exec: %v", err)
	}
	if _, err := read(stream, nil); status.Code(err) != codes.DeadlineExceeded {
		t.Fatalf("an Exec past its deadline ended with %v", err)
	}
	waitForSleepers(t, client, id, "31536[.]5", 0)
	t.Log("the program ended with the call's deadline; the sandbox still runs programs")
}
