// Command mongowire is a server that speaks MongoDB's protocol: FerretDB, on SQLite, or on PostgreSQL where users and
// their rights matter. It sends nothing to anybody: the embedded package has no telemetry.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:27017", "the address")
	dir := flag.String("dir", "", "the directory of SQLite's files; it has to exist")
	postgres := flag.String("postgres", "", "URL of a PostgreSQL database, in place of SQLite")
	flag.Parse()
	if flag.NArg() > 0 || (*dir == "") == (*postgres == "") {
		fail("usage: mongowire [-listen ADDRESS] -dir DIR | -postgres URL")
	}

	config := &ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: *listen},
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Handler:   "sqlite",
		SQLiteURL: "file:" + *dir + "/",
	}
	if *postgres != "" {
		config.Handler, config.PostgreSQLURL = "postgresql", *postgres
	}
	server, err := ferretdb.New(config)
	if err != nil {
		fail(err)
	}

	stopped, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	// Told to stop, it would serve its clients for three seconds more. What it has acknowledged is on disk.
	go server.Run(context.Background())
	<-stopped.Done()
}

func fail(reason any) {
	fmt.Fprintln(os.Stderr, "error:", reason)
	os.Exit(1)
}
