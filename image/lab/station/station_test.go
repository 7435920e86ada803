package station_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/pki"
	"clinicgate/image/lab/station"
)

// gateway answers as the box would, on the loopback of a namespace.
func gateway(t *testing.T, world *pki.World, space *netns.Space, handler http.Handler) {
	t.Helper()
	device, err := world.Gateway(net.ParseIP("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(world.Devices.Cert)
	server := &http.Server{Handler: handler, TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{device.TLS()}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}}
	t.Cleanup(func() { server.Close() })
	for _, port := range []string{"8443", "8444"} {
		var l net.Listener
		err := space.Do(func() (err error) {
			l, err = net.Listen("tcp", "127.0.0.1:"+port)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		go server.ServeTLS(l, "", "")
	}
}

// workstation is a station beside the gateway, with the certificate of a device
// that signer knows.
func workstation(t *testing.T, trusted, signer *pki.World, space *netns.Space) *station.Station {
	t.Helper()
	dir := t.TempDir()
	d, err := signer.Client("workstation", "ws1")
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(dir, "ca.pem")
	if err := errors.Join(d.Write(dir, "ws1"), os.WriteFile(ca, trusted.Devices.PEM(), 0o644)); err != nil {
		t.Fatal(err)
	}
	s, err := station.New(station.Config{
		Space: space, Gateway: "127.0.0.1", Name: pki.GatewayName, CA: ca,
		Cert: filepath.Join(dir, "ws1.crt"), Key: filepath.Join(dir, "ws1.key"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func setUp(t *testing.T, handler http.Handler) (*station.Station, *pki.World, *netns.Space) {
	lab.Require(t, lab.Root)
	world, err := pki.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	space, err := netns.New(fmt.Sprintf("cg-stationt%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { space.Close() })
	gateway(t, world, space, handler)
	return workstation(t, world, world, space), world, space
}

func TestLoginAndRead(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/login", func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Room, PIN string }
		json.NewDecoder(r.Body).Decode(&in)
		if in.Room != "r" || in.PIN != "123456" {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(403)
			fmt.Fprint(w, `{"type":"urn:clinicgate:problem:wrong-pin","tries_left":2}`)
			return
		}
		fmt.Fprint(w, `{"token":"tok","expires_in":60,"session":{"sid":"s","role":"doctor","room":"r"}}`)
	})
	mux.HandleFunc("GET /fhir/R4/Patient/1", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("Authorization"))
	})
	mux.HandleFunc("POST /v1/renew", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{}`) })
	s, _, _ := setUp(t, mux)
	ctx := context.Background()

	login, err := s.Login(ctx, "r", "123456")
	if err != nil || login.Token != "tok" || login.Session.Role != "doctor" {
		t.Fatalf("got %+v, %v", login, err)
	}
	a, err := s.Read(ctx, login.Token, "Patient/1")
	if err != nil || a.Status != 200 || string(a.Body) != "Bearer tok" {
		t.Errorf("got %+v, %v", a, err)
	}
	_, err = s.Login(ctx, "r", "000000")
	var no *station.Refusal
	if !errors.As(err, &no) || !no.Of("wrong-pin") || no.Of("pin") || no.Status != 403 || *no.TriesLeft != 2 {
		t.Errorf("got %v", err)
	}
	if _, err := s.Renew(ctx, "tok"); err == nil || errors.As(err, &no) && no.Status == 200 {
		t.Errorf("200 without a token: got %v, want an error", err)
	}
}

func TestStrangers(t *testing.T) {
	_, world, space := setUp(t, http.NotFoundHandler())
	other, err := pki.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := workstation(t, other, world, space).Read(context.Background(), "", "Patient/1"); err == nil {
		t.Error("believed a gateway of another CA")
	}
	if _, err := workstation(t, world, other, space).Read(context.Background(), "", "Patient/1"); err == nil {
		t.Error("the gateway took a workstation of another CA")
	}
}
