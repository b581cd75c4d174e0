// Prints, for each URL of its arguments, the proxy that Go's http.ProxyFromEnvironment chooses.
package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	for _, url := range os.Args[1:] {
		request, err := http.NewRequest("GET", url, nil)
		if err != nil {
			fmt.Println("unusable")
			continue
		}
		proxy, err := http.ProxyFromEnvironment(request)
		switch {
		case err != nil:
			fmt.Println("refused")
		case proxy == nil:
			fmt.Println("direct")
		default:
			fmt.Println(proxy.Host)
		}
	}
}
