package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"clinicgate/firmware/gatectl/ask"
	"clinicgate/firmware/status"
)

// cardCommand is what a technician does about the rooms' own workstations.
func cardCommand(o *options) *cobra.Command {
	card := &cobra.Command{Use: "card", Short: "card readers, sessions, and the rooms' own workstations", Args: usage(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		return cmd.Help()
	}}
	card.AddCommand(
		&cobra.Command{Use: "rooms", Short: "which rooms' workstations are enrolled and connected", Args: usage(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error { return showRooms(cmd.Context(), o, cmd.OutOrStdout()) }},
		&cobra.Command{Use: "enroll ROOM", Short: "show the code by which a room's workstation enrolls", Args: usage(cobra.ExactArgs(1)),
			RunE: func(cmd *cobra.Command, args []string) error {
				return inviteRoom(cmd.Context(), o, cmd.OutOrStdout(), args[0])
			}},
		&cobra.Command{Use: "revoke ROOM", Short: "turn a room's workstation away, now and later", Args: usage(cobra.ExactArgs(1)),
			RunE: func(cmd *cobra.Command, args []string) error {
				return revokeRoom(cmd.Context(), o, cmd.OutOrStdout(), args[0])
			}},
		importCommand(o),
		cardShowCommand(o),
	)
	return card
}

// showRooms prints one line a room.
func showRooms(ctx context.Context, o *options, out io.Writer) error {
	var got struct {
		Rooms []struct {
			Room      string     `json:"room"`
			Enrolled  *time.Time `json:"enrolled"`
			Connected string     `json:"connected,omitempty"`
		} `json:"rooms"`
	}
	if err := askCardauth(ctx, o, http.MethodGet, "/rooms", &got); err != nil {
		return err
	}
	if o.json {
		return printJSON(out, got)
	}
	if len(got.Rooms) == 0 {
		fmt.Fprintln(out, "no room has its reader at its own workstation")
	}
	for _, r := range got.Rooms {
		how := "not enrolled; gatectl card enroll " + r.Room
		if r.Enrolled != nil {
			how = "enrolled " + r.Enrolled.Format(time.DateOnly) + ", not connected"
			if r.Connected != "" {
				how = "connected from " + r.Connected
			}
		}
		fmt.Fprintf(out, "%-20s %s\n", status.Plain(r.Room), status.Plain(how))
	}
	return nil
}

// inviteRoom prints the code and what to do with it.
func inviteRoom(ctx context.Context, o *options, out io.Writer, room string) error {
	var got struct {
		Room    string `json:"room"`
		Code    string `json:"code"`
		Expires int    `json:"expires_in"`
	}
	if err := askCardauth(ctx, o, http.MethodPost, "/rooms/"+url.PathEscape(room)+"/invite", &got); err != nil {
		return err
	}
	if o.json {
		return printJSON(out, got)
	}
	fmt.Fprintf(out, "%s\nType it at the workstation of room %s within %d minutes: agent enrol -gateway HOST:PORT\n", got.Code, status.Plain(got.Room), got.Expires/60)
	return nil
}

// revokeRoom says whether there was a workstation to turn away.
func revokeRoom(ctx context.Context, o *options, out io.Writer, room string) error {
	var got struct {
		Room    string `json:"room"`
		Revoked bool   `json:"revoked"`
	}
	if err := askCardauth(ctx, o, http.MethodDelete, "/rooms/"+url.PathEscape(room), &got); err != nil {
		return err
	}
	if o.json {
		return printJSON(out, got)
	}
	if !got.Revoked {
		fmt.Fprintf(out, "room %s: no workstation was enrolled\n", status.Plain(got.Room))
		return exit(exitRefused)
	}
	fmt.Fprintf(out, "room %s: its workstation is turned away\n", status.Plain(got.Room))
	return nil
}

// askCardauth makes one request on cardauth's control socket.
func askCardauth(ctx context.Context, o *options, method, path string, into any) error {
	err := cardauth(o, 10*time.Second).JSON(ctx, method, path, nil, into)
	return itsWords(err)
}

func cardauth(o *options, limit time.Duration) ask.Peer {
	return ask.Peer{Run: o.source.Run, Name: "cardauth", Limit: 1 << 20, Time: limit}
}

// itsWords is a refusal as the program itself words it: {"error": ...}.
func itsWords(err error) error {
	var said struct{ Error string }
	if no := (*ask.Refusal)(nil); errors.As(err, &no) && json.Unmarshal(no.Body, &said) == nil && said.Error != "" {
		return errors.New(status.Plain(said.Error))
	}
	return err
}
