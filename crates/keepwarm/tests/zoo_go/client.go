// What Go's net/http makes of the zoo: driven by tests/zoo_go/main.rs, by lines on stdin and stdout.
//
// In:  new  |  ask <method> <url> <timeout in ms>
// Out: ok   |  reply <status> <body in hex>, or fail <why>
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	log.SetOutput(io.Discard)
	lines := bufio.NewScanner(os.Stdin)
	var client *http.Client
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		switch words[0] {
		case "new":
			if client != nil {
				client.CloseIdleConnections()
			}
			client = &http.Client{Transport: &http.Transport{}}
			fmt.Println("ok")
		case "ask":
			timeout, err := time.ParseDuration(words[3] + "ms")
			if err != nil {
				panic(err)
			}
			fmt.Println(ask(client, words[1], words[2], timeout))
		}
	}
}

func ask(client *http.Client, method, url string, timeout time.Duration) string {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var upload io.Reader
	if method == "POST" {
		upload = bytes.NewReader(bytes.Repeat([]byte("u"), 8<<20))
	}
	request, err := http.NewRequestWithContext(ctx, method, url, upload)
	if err != nil {
		panic(err)
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Sprintf("fail %q", err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusSwitchingProtocols {
		// The body is the connection itself, and reading it heeds no timeout.
		return "reply 101"
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Sprintf("fail %q", err)
	}
	return fmt.Sprintf("reply %d %s", response.StatusCode, hex.EncodeToString(body))
}
