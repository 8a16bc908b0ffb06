# what: go build, test and run, offline
# needs: go
export GOPATH=$PWD/path GOCACHE=$PWD/cache GOFLAGS=-mod=mod GOPROXY=off GOTOOLCHAIN=local
mkdir hello
cd hello
cat > main.go <<'END'
package main

import (
	"fmt"
	"net"
)

func answer() int {
	numbers := make(chan int)
	for i := 0; i < 4; i++ {
		go func(i int) { numbers <- i * 7 }(i)
	}
	sum := 0
	for i := 0; i < 4; i++ {
		sum += <-numbers
	}
	return sum
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer listener.Close()
	fmt.Println(answer())
}
END
go mod init example.com/hello 2> /dev/null
go build -o hello .
[ "$(./hello)" = 42 ]
