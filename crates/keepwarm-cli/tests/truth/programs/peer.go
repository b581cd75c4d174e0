// A Go service or client with one habit.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

var (
	addr    = flag.String("addr", "", "serve here")
	useTLS  = flag.Bool("tls", false, "with TLS, and so HTTP/2 where both speak it")
	idle    = flag.Duration("idle", 0, "server: keep-alive timeout; client: idle timeout of the pool")
	delay   = flag.Duration("delay", 0, "server: before an answer")
	size    = flag.Int("size", 100, "server: bytes of an answer")
	url     = flag.String("url", "", "ask here")
	n       = flag.Int("n", 200, "requests")
	c       = flag.Int("c", 10, "goroutines")
	think   = flag.Duration("think", 0, "between two requests of a goroutine")
	timeout = flag.Duration("timeout", 0, "client: for a request")
	post    = flag.Int("post", 0, "client: bytes of a body")
	mode    = flag.String("mode", "shared", "default, shared, per-request, close, dropped, unread, wave")
	most    = flag.Duration("for", time.Hour, "client: no request begins later")
	h2      = flag.Bool("h2", false, "HTTP/2")
)

func main() {
	flag.Parse()
	if *addr != "" {
		serve()
		return
	}
	load()
}

func serve() {
	body := bytes.Repeat([]byte("."), *size)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if *delay > 0 {
			time.Sleep(*delay)
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.Write(body)
	})
	server := &http.Server{Addr: *addr, Handler: handler, IdleTimeout: *idle}
	if *useTLS {
		if !*h2 {
			server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
		}
		fmt.Fprintln(os.Stderr, server.ListenAndServeTLS("cert.pem", "key.pem"))
		return
	}
	fmt.Fprintln(os.Stderr, server.ListenAndServe())
}

func transport() *http.Transport {
	made := http.DefaultTransport.(*http.Transport).Clone()
	made.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	made.ForceAttemptHTTP2 = *h2
	if *idle > 0 {
		made.IdleConnTimeout = *idle
	}
	if *mode != "default" && *mode != "wave" {
		made.MaxIdleConnsPerHost = 1000
		made.MaxIdleConns = 1000
	}
	made.DisableKeepAlives = *mode == "close"
	return made
}

func load() {
	var asked, answered atomic.Int64
	end := time.Now().Add(*most)
	shared := &http.Client{Transport: transport(), Timeout: *timeout}
	ask := func(client *http.Client) {
		asked.Add(1)
		method, body := "GET", io.Reader(nil)
		if *post > 0 {
			method, body = "POST", bytes.NewReader(make([]byte, *post))
		}
		request, err := http.NewRequestWithContext(context.Background(), method, *url, body)
		if err != nil {
			panic(err)
		}
		response, err := client.Do(request)
		if err != nil {
			return
		}
		defer response.Body.Close()
		if *mode != "unread" {
			if _, err := io.Copy(io.Discard, response.Body); err != nil {
				return
			}
		}
		answered.Add(1)
	}
	each := func() {
		client := shared
		switch *mode {
		case "per-request":
			client = &http.Client{Transport: transport(), Timeout: *timeout}
			defer client.CloseIdleConnections()
		case "dropped":
			client = &http.Client{Transport: transport(), Timeout: *timeout}
		}
		ask(client)
	}
	var all sync.WaitGroup
	if *mode == "wave" {
		for wave := 0; wave < *n / *c; wave++ {
			for range *c {
				all.Add(1)
				go func() { defer all.Done(); each() }()
			}
			all.Wait()
			time.Sleep(*think)
		}
	} else {
		for range *c {
			all.Add(1)
			go func() {
				defer all.Done()
				for i := 0; i < *n / *c && time.Now().Before(end); i++ {
					each()
					time.Sleep(*think)
				}
			}()
		}
		all.Wait()
	}
	fmt.Printf("requests=%d answered=%d\ndone\n", asked.Load(), answered.Load())
	io.Copy(io.Discard, os.Stdin)
}
