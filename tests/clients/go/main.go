// As Grafana's data source for ClickHouse connects: clickhouse-go over HTTP. Arguments: host:port, database, compression, the reader's password.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func main() {
	methods := map[string]clickhouse.CompressionMethod{"none": clickhouse.CompressionNone, "gzip": clickhouse.CompressionGZIP, "lz4": clickhouse.CompressionLZ4}
	db := clickhouse.OpenDB(&clickhouse.Options{
		Addr: []string{os.Args[1]}, Protocol: clickhouse.HTTP, Auth: clickhouse.Auth{Database: os.Args[2], Username: "reader", Password: os.Args[4]},
		Compression: &clickhouse.Compression{Method: methods[os.Args[3]]}, DialTimeout: 10 * time.Second, ReadTimeout: 60 * time.Second})
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second) // a limit of over 60 s is sent
	defer cancel()
	must(db.PingContext(ctx))
	var rows, offsets, tables, columns uint64
	must(db.QueryRowContext(ctx, "SELECT count(), toUInt64(sum(offset)) FROM late").Scan(&rows, &offsets))
	must(db.QueryRowContext(ctx, "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = 'late'").Scan(&tables))
	must(db.QueryRowContext(ctx, "SELECT count() FROM system.columns WHERE database = currentDatabase() AND table = 'late'").Scan(&columns))
	answer, err := db.QueryContext(ctx, "SELECT number FROM numbers(200000)")
	must(err)
	var sum, number uint64
	for answer.Next() {
		must(answer.Scan(&number))
		sum += number
	}
	must(answer.Err())
	_, err = db.QueryContext(ctx, "SELECT * FROM nosuch")
	fmt.Printf("%d %d|%d|%d|%d|%v\n", rows, offsets, sum, tables, columns, err)
}
