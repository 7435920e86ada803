package main

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"clinicgate/firmware/attest"
	"clinicgate/firmware/status"
)

// maxEvidenceFile bounds what is read of a file with evidence.
const maxEvidenceFile = 64 << 10

// attestCommand has the box's TPM say what runs, for a nonce of cloud ops'.
func attestCommand(o *options) *cobra.Command {
	nonce := ""
	cmd := &cobra.Command{Use: "attest", Short: "prove to cloud ops what runs here", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ask := nonce
			if ask == "" { // nobody's question: only the key is of interest
				b := make([]byte, attest.NonceSize)
				rand.Read(b)
				ask = hex.EncodeToString(b)
			}
			text, err := o.client().Attest(cmd.Context(), ask)
			if err != nil {
				return err
			}
			if nonce != "" || o.json {
				_, err = cmd.OutOrStdout().Write(text)
				return err
			}
			var e attest.Evidence
			if err := json.Unmarshal(text, &e); err != nil {
				return fmt.Errorf("ask init: %w", err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "key %s\n", e.Fingerprint())
			return err
		}}
	cmd.Flags().StringVar(&nonce, "nonce", "", fmt.Sprintf("`HEX`, %d digits, that `gatectl ops attest` gave", 2*attest.NonceSize))
	return cmd
}

// attestView is the verdict on a box's evidence, documented in docs/update.md.
type attestView struct {
	V       int    `json:"v"` // 1
	Board   string `json:"board"`
	Release string `json:"release"`
	Slot    string `json:"slot"`
	Key     string `json:"key"`
	Kernel  string `json:"kernel"` // "as signed", or "not compared"
	Boot    string `json:"boot"`   // what register 7 says, in hex: Secure Boot's keys
}

// attestCommand gives a nonce, or judges the evidence that answers it.
func (o *opsOptions) attestCommand() *cobra.Command {
	var nonce, key, kernel string
	cmd := &cobra.Command{
		Use: "attest [EVIDENCE]", Short: "a nonce for a box; with its answer: whether it runs what it says", Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				b := make([]byte, attest.NonceSize)
				rand.Read(b)
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%x\n", b)
				return err
			}
			if nonce == "" || key == "" {
				return fmt.Errorf("%w: --nonce and --key are wanted: evidence without them proves nothing", errUsage)
			}
			v, err := judge(args[0], nonce, key, kernel)
			if err != nil {
				return fmt.Errorf("%w: %w", errRefused, err)
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), v)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "board %s runs release %s in slot %s; kernel image %s; register 7 %s\n",
				status.Plain(v.Board), status.Plain(v.Release), status.Plain(v.Slot), v.Kernel, v.Boot)
			return err
		},
	}
	cmd.Flags().StringVar(&nonce, "nonce", "", "`HEX` that was given to the box")
	cmd.Flags().StringVar(&key, "key", "", "`FINGERPRINT` of the box's TPM, as gatectl attest showed it when the box was set up")
	cmd.Flags().StringVar(&kernel, "kernel", "", "`file` of the release's kernel image, to hold the measured one against")
	return cmd
}

// judge reads evidence and checks it all.
func judge(path, nonce, key, kernel string) (v attestView, err error) {
	want, err := hex.DecodeString(nonce)
	if err != nil {
		return v, fmt.Errorf("nonce: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return v, err
	}
	defer f.Close()
	var e attest.Evidence
	if err := json.NewDecoder(io.LimitReader(f, maxEvidenceFile)).Decode(&e); err != nil {
		return v, fmt.Errorf("evidence: %w", err)
	}
	if err := e.Verify(want); err != nil {
		return v, err
	}
	if got := e.Fingerprint(); !strings.EqualFold(got, key) {
		return v, fmt.Errorf("the TPM's key: got %s, want %s: it is another box's", got, key)
	}
	v = attestView{V: 1, Board: e.Board, Release: e.Release, Slot: e.Slot, Key: e.Fingerprint(), Kernel: "not compared", Boot: hex.EncodeToString(e.Value(7))}
	if kernel == "" {
		return v, nil
	}
	image, err := os.Open(kernel)
	if err != nil {
		return v, err
	}
	defer image.Close()
	measured, err := attest.Kernel(image)
	if err != nil {
		return v, err
	}
	if got := e.Value(attest.KernelPCR); string(got) != string(measured) {
		return v, errors.New("the box was not started from this kernel image: register 11 says " + hex.EncodeToString(got) + ", want " + hex.EncodeToString(measured))
	}
	v.Kernel = "as signed"
	return v, nil
}
