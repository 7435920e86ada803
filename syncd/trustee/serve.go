package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"clinicgate/syncd/trustee/book"
	"clinicgate/syncd/trustee/secret"
	"clinicgate/syncd/vault/deed"
)

// maxAsk bounds a question.
const maxAsk = 4 << 10

// serve answers members until ctx ends.
func serve(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("trustee serve", flag.ContinueOnError)
	dir := flags.String("dir", "", "`folder` of the book, and of the secret or its salt")
	listen := flags.String("listen", ":8460", "`address` to listen on, reached by the boxes through the tunnel")
	cert := flags.String("cert", "", "`file` with this program's certificate")
	key := flags.String("key", "", "`file` with its key")
	clients := flags.String("clients", "", "`file` with the CA that members have their certificates from")
	chip := flags.String("tpm", "", "`device` of a TPM that keeps the secret; without: a file in -dir")
	hold := flags.Duration("hold", 30*24*time.Hour, "how long a box may work without asking again")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *hold < time.Hour || *hold > 366*24*time.Hour {
		return fmt.Errorf("-hold: got %v, want 1h to a year", *hold)
	}
	prf, err := secret.Open(*dir, *chip)
	if err != nil {
		return err
	}
	b, err := book.Open(*dir, prf, *hold)
	if err != nil {
		return err
	}
	config, err := mutual(*cert, *key, *clients)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	log.Info("ready", "listen", l.Addr(), "secret", prf.State(), "hold", *hold)
	srv := &http.Server{Handler: routes(b, log), ReadTimeout: 10 * time.Second, WriteTimeout: 20 * time.Second, MaxHeaderBytes: 8 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(tls.NewListener(l, config)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// mutual is TLS in which both sides show a certificate.
func mutual(cert, key, clients string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	pem, err := os.ReadFile(clients)
	if err != nil {
		return nil, fmt.Errorf("CA of members: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("CA of members: %s: got no certificate, want one or more in PEM", clients)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS13}, nil
}

// order is a question of ops or of a manager.
type order struct {
	Name   string `json:"name,omitempty"`
	Role   string `json:"role,omitempty"`
	Site   string `json:"site,omitempty"`
	Wrap   string `json:"wrap,omitempty"`
	Why    string `json:"why,omitempty"`
	Domain string `json:"domain,omitempty"`
	May    string `json:"may,omitempty"`
}

// routes are what may be asked.
func routes(b *book.Book, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /v1/deed", take(log, func(by string, a deed.Ask) (any, error) {
		sealed, err := b.Deed(by, a, time.Now())
		return deed.Answer{V: 1, Box: by, Sealed: sealed}, err
	}, func(a deed.Ask) []any { return []any{"domain", a.Domain} }))
	told := func(o order) []any {
		return []any{"name", o.Name, "role", o.Role, "site", o.Site, "domain", o.Domain, "may", o.May, "why", o.Why}
	}
	done := func(err error) (any, error) {
		return struct {
			V int `json:"v"`
		}{1}, err
	}
	for what, do := range map[string]func(by string, o order) (any, error){
		"enrol": func(by string, o order) (any, error) {
			return done(b.Enrol(by, o.Name, book.Member{Role: o.Role, Site: o.Site, Key: o.Wrap}))
		},
		"revoke": func(by string, o order) (any, error) { return done(b.Revoke(by, o.Name, o.Why)) },
		"share":  func(by string, o order) (any, error) { return done(b.Grant(by, o.Domain, o.Site, o.May)) },
		"rotate": func(by string, o order) (any, error) { return done(b.Rotate(by, o.Domain, time.Now())) },
		"shred":  func(by string, o order) (any, error) { return done(b.Shred(by, o.Domain, time.Now())) },
		"show": func(by string, _ order) (any, error) {
			lines, err := b.List(by)
			return shown{1, lines}, err
		},
	} {
		mux.Handle("POST /v1/"+what, take(log, do, told))
	}
	return mux
}

// shown answers show.
type shown struct {
	V       int         `json:"v"`
	Domains []book.Line `json:"domains"`
}

// take reads a member's question and answers it. Each is logged, with who asked and
// what came of it: the log is the trace of every key that was given out.
func take[A any](log *slog.Logger, do func(by string, a A) (any, error), told func(A) []any) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		by := r.TLS.PeerCertificates[0].Subject.CommonName // verified by the handshake
		var a A
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAsk)).Decode(&a)
		if err != nil {
			err = &book.Refused{Type: deed.RefusedRequest, Detail: "got no JSON of this question"}
		}
		var answer any
		if err == nil {
			answer, err = do(by, a)
		}
		log.Info(r.URL.Path, append([]any{"by", by, "from", r.RemoteAddr, "err", err}, told(a)...)...)
		code := http.StatusOK
		var no *book.Refused
		switch {
		case errors.As(err, &no) && no.Type == deed.RefusedRequest:
			code, answer = http.StatusBadRequest, no
		case errors.As(err, &no):
			code, answer = http.StatusForbidden, no
		case err != nil:
			code, answer = http.StatusInternalServerError, deed.Refusal{Type: "fault", Detail: "see the log"}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(answer) // a caller that hung up
	})
}
