// A Go client of one habit: `client HABIT URL`. Says "done" after its requests, and stays until its
// standard input ends, so that what it left open can be seen.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
)

const (
	bursts = 12
	atOnce = 30
)

func main() {
	habit, url := os.Args[1], os.Args[2]
	shared := &http.Client{Transport: &http.Transport{}}
	switch habit {
	case "two-idle":
		inBursts(func() { get(shared, url, true) })
	case "large-pool":
		shared.Transport = &http.Transport{MaxIdleConnsPerHost: atOnce}
		inBursts(func() { get(shared, url, true) })
	case "transport-per-request":
		inBursts(func() { get(&http.Client{Transport: &http.Transport{}}, url, true) })
	case "undrained":
		shared.Transport = &http.Transport{MaxIdleConnsPerHost: atOnce}
		inBursts(func() { get(shared, url, false) })
	}
	fmt.Println("done")
	io.Copy(io.Discard, os.Stdin)
}

func get(client *http.Client, url string, drain bool) {
	response, err := client.Get(url)
	if err != nil {
		panic(err)
	}
	if drain {
		io.Copy(io.Discard, response.Body)
	} else {
		io.ReadFull(response.Body, make([]byte, 1))
	}
	response.Body.Close()
}

// Every burst begins when the last one has ended.
func inBursts(request func()) {
	for range bursts {
		var burst sync.WaitGroup
		for range atOnce {
			burst.Add(1)
			go func() { defer burst.Done(); request() }()
		}
		burst.Wait()
	}
}
