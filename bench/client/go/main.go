// The Go client of `just bench-client` and, in closing.go, of `just bench-closing`: one http.Client
// whose pool may keep 2000 idle connections.
//
// Arguments: URL, concurrency, warm-up requests of each goroutine, measured requests of each
// goroutine, length of the body, authority to trust in PEM or nothing, h2 or nothing. Prints one JSON object. Ends when its standard input ends.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

func main() {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	if os.Args[1] == "closing" {
		closing()
		return
	}
	url := os.Args[1]
	concurrency, warmUp := number(2), number(3)
	requests, bodyBytes := number(4), number(5)
	client := newClient()
	if pem := os.Args[6]; pem != "" {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(pem))
		transport := client.Transport.(*http.Transport)
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
		// A TLS configuration of one's own turns HTTP/2 off.
		transport.ForceAttemptHTTP2 = false
	}

	if os.Args[7] == "h2" {
		transport := client.Transport.(*http.Transport)
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetUnencryptedHTTP2(true)
	}

	allAtOnce(client, url, concurrency, warmUp, bodyBytes)

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, began := cpuTime(), time.Now()
	latencies := allAtOnce(client, url, concurrency, requests, bodyBytes)
	took := time.Since(began)
	cpu = cpuTime() - cpu
	runtime.ReadMemStats(&after)

	slices.Sort(latencies)
	total := float64(len(latencies))
	percentile := func(quantile float64) float64 {
		place := min(int(quantile*total), len(latencies)-1)
		return float64(latencies[place].Nanoseconds()) / 1e3
	}
	must(json.NewEncoder(os.Stdout).Encode(map[string]float64{
		"cpu_us_per_request":      cpu.Seconds() * 1e6 / total,
		"requests_per_second":     total / took.Seconds(),
		"p50_us":                  percentile(0.5),
		"p99_us":                  percentile(0.99),
		"p999_us":                 percentile(0.999),
		"allocations_per_request": float64(after.Mallocs-before.Mallocs) / total,
	}))
}

func newClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns = 2000
	transport.MaxIdleConnsPerHost = 2000
	transport.Proxy = nil
	return &http.Client{Transport: transport}
}

// A goroutine for each place, requests one after the other in each; what each of them took.
func allAtOnce(client *http.Client, url string, concurrency, requests, bodyBytes int) []time.Duration {
	latencies := make([]time.Duration, concurrency*requests)
	var all sync.WaitGroup
	for place := range concurrency {
		all.Add(1)
		own := latencies[place*requests : (place+1)*requests]
		go func() {
			defer all.Done()
			began := time.Now()
			for i := range own {
				response, err := client.Get(url)
				must(err)
				length, err := io.Copy(io.Discard, response.Body)
				must(err)
				must(response.Body.Close())
				if response.StatusCode != 200 || length != int64(bodyBytes) {
					must(fmt.Errorf("status %d, a body of %d bytes", response.StatusCode, length))
				}
				ended := time.Now()
				own[i] = ended.Sub(began)
				began = ended
			}
		}()
	}
	all.Wait()
	return latencies
}

// User and system time of this process, all threads.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func number(place int) int {
	value, err := strconv.Atoi(os.Args[place])
	must(err)
	return value
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
