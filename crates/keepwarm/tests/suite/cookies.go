// Sets cookies, given as pairs of a URL and a Set-Cookie, and prints those for the last URL.
package main

import (
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
)

func main() {
	jar, _ := cookiejar.New(nil)
	args := os.Args[1:]
	for len(args) > 1 {
		from, _ := url.Parse(args[0])
		header := http.Header{"Set-Cookie": {args[1]}}
		response := http.Response{Header: header}
		jar.SetCookies(from, response.Cookies())
		args = args[2:]
	}
	to, _ := url.Parse(args[0])
	var pairs []string
	for _, cookie := range jar.Cookies(to) {
		pairs = append(pairs, cookie.Name+"="+cookie.Value)
	}
	fmt.Println(strings.Join(pairs, "; "))
}
