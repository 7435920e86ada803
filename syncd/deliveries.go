package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"clinicgate/syncd/config"
	"clinicgate/syncd/deliver"
	"clinicgate/syncd/deliver/cstore"
	"clinicgate/syncd/deliver/document"
	"clinicgate/syncd/deliver/progress"
	"clinicgate/syncd/deliver/stow"
	"clinicgate/syncd/deliver/transaction"
	"clinicgate/syncd/deliver/tus"
	"clinicgate/syncd/format"
	"clinicgate/syncd/queue"
)

// destinations makes the senders of the site file's destinations.
func (s *state) destinations() []deliver.Destination {
	var all []deliver.Destination
	for _, d := range s.cfg.Destinations {
		all = append(all, deliver.Destination{
			Name: d.Name, Kind: d.Kind, Accepts: d.Accepts,
			Sender: &lateSender{build: func() (deliver.Sender, error) {
				to, err := s.sender(d)
				if err != nil {
					return nil, err
				}
				return s.rightful(d, to), nil
			}},
		})
	}
	return all
}

// sender builds the sender of one destination.
func (s *state) sender(d config.Destination) (deliver.Sender, error) {
	user, password, err := s.password(d.Auth)
	if err != nil {
		return nil, err
	}
	if d.Kind == config.KindNode {
		return &cstore.Sender{Addr: d.URL.Host, Called: d.URL.User.Username(), Calling: s.title()}, nil
	}
	if d.Kind == config.KindMQTT {
		return s.brokerSender(d, user, password), nil
	}
	client := s.httpClient(d.URL, user, password)
	switch d.Kind {
	case config.KindTus:
		return &tus.Sender{
			Client: client, URL: d.URL, Key: document.Identifier,
			Places: progress.Open(filepath.Join(s.env.State, "tus-"+d.Name+".json")),
		}, nil
	case config.KindSTOW:
		return &stow.Sender{Client: client}, nil
	case config.KindFHIR:
		return byFormat{format.FHIR: &transaction.Sender{Client: client}, "": &document.Sender{Client: client}}, nil
	}
	return nil, fmt.Errorf("destinations of kind %q are not served by this release", d.Kind)
}

// httpClient is a client of a destination; at the EHR, with the gateway's own access
// if the destination has none.
func (s *state) httpClient(u *url.URL, user, password string) *deliver.Client {
	client := deliver.NewClient(u, user, password)
	if user == "" && s.atEHR(u) {
		client.Through(s.access.through)
	}
	return client
}

// byFormat is a destination that takes some kinds of item another way than the rest.
type byFormat map[string]deliver.Sender

// Send is the kind's sender's.
func (b byFormat) Send(ctx context.Context, it queue.Item, tried bool, body deliver.Body) (string, error) {
	to, ok := b[it.Kind]
	if !ok {
		to = b[""]
	}
	return to.Send(ctx, it, tried, body)
}

// title is our AE title, where we call as where we are called.
func (s *state) title() string {
	if s.cfg.DICOM != nil {
		return s.cfg.DICOM.Title
	}
	return "CLINICGATE"
}

// password reads user:password from a file in the secrets folder.
func (s *state) password(file string) (user, password string, err error) {
	if file == "" {
		return "", "", nil
	}
	data, err := os.ReadFile(filepath.Join(s.env.Secrets, file))
	if err != nil {
		return "", "", fmt.Errorf("password of the destination: %w", err)
	}
	user, password, ok := strings.Cut(strings.TrimSpace(string(data)), ":")
	if !ok || user == "" {
		return "", "", fmt.Errorf("password of the destination: %s: want user:password", file)
	}
	return user, password, nil
}

// A lateSender is built at its first use and again until that succeeds: a missing
// password file is one destination's fault and ends when the file is there.
type lateSender struct {
	build func() (deliver.Sender, error)

	mu    sync.Mutex
	built deliver.Sender
}

// Send is the built sender's.
func (l *lateSender) Send(ctx context.Context, it queue.Item, tried bool, body deliver.Body) (string, error) {
	l.mu.Lock()
	if l.built == nil {
		built, err := l.build()
		if err != nil {
			l.mu.Unlock()
			return "", &deliver.Failure{Kind: deliver.Refusing, Reason: err.Error()}
		}
		l.built = built
	}
	sender := l.built
	l.mu.Unlock()
	return sender.Send(ctx, it, tried, body)
}
