package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// One request in so many is a POST, as in load.rs.
const postEvery = 5

// What became of the requests.
type outcome struct {
	Gets        uint64 `json:"gets"`
	Posts       uint64 `json:"posts"`
	FailedGets  uint64 `json:"failed_gets"`
	FailedPosts uint64 `json:"failed_posts"`
	Wrong       uint64 `json:"wrong"`
}

// The load of `just bench-closing`. Arguments: "closing", origin, rounds, lanes, requests of each
// lane in a round. The same as load.rs does. Prints one JSON object.
func closing() {
	origin := os.Args[2]
	rounds, lanes, requests := number(3), number(4), number(5)
	client := newClient()
	var total outcome
	var lock sync.Mutex
	for round := range rounds {
		start := time.Now()
		if rounds > 1 {
			start = start.Add(998 * time.Millisecond)
		}
		var all sync.WaitGroup
		for lane := range lanes {
			all.Add(1)
			go func() {
				defer all.Done()
				if rounds > 1 {
					time.Sleep(time.Until(start.Add(time.Duration(lane) * 100 * time.Microsecond)))
				}
				first := (round*lanes + lane) * requests
				for number := first; number < first+requests; number++ {
					post := number%postEvery == 0
					target := fmt.Sprintf("/%d", number)
					text, err := ask(client, post, origin+target)
					lock.Lock()
					total.count(post, err, text != target)
					lock.Unlock()
				}
			}()
		}
		all.Wait()
	}
	must(json.NewEncoder(os.Stdout).Encode(total))
}

func ask(client *http.Client, post bool, url string) (string, error) {
	var response *http.Response
	var err error
	if post {
		response, err = client.Post(url, "text/plain", strings.NewReader("once"))
	} else {
		response, err = client.Get(url)
	}
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != 200 {
		err = fmt.Errorf("status %d", response.StatusCode)
	}
	return string(text), err
}

func (total *outcome) count(post bool, err error, wrong bool) {
	asked, failed := &total.Gets, &total.FailedGets
	if post {
		asked, failed = &total.Posts, &total.FailedPosts
	}
	*asked++
	if err != nil {
		*failed++
	} else if wrong {
		total.Wrong++
	}
}
