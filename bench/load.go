package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// client is one connection that is kept. It writes a request as it is given and
// reads the answer by its Content-Length, and so costs little beside the server.
type client struct {
	conn   net.Conn
	buffer []byte
}

// connections all lead to one process.
type connections struct {
	process *process
	all     []*client
}

func (p *process) dial(n int) (*connections, error) {
	c := &connections{process: p}
	for range n {
		conn, err := net.Dial("tcp", p.addr)
		if err != nil {
			c.close()
			return nil, err
		}
		c.all = append(c.all, &client{conn, make([]byte, 64<<10)})
	}
	return c, nil
}

func (c *connections) close() {
	for _, one := range c.all {
		one.conn.Close()
	}
}

// once sends one request on a connection of its own.
func (p *process) once(request []byte) ([]byte, error) {
	c, err := p.dial(1)
	if err != nil {
		return nil, err
	}
	defer c.close()
	return c.all[0].do(request)
}

// do returns the body of the answer, which the next call overwrites. An answer
// other than 200 is an error.
func (c *client) do(request []byte) ([]byte, error) {
	if _, err := c.conn.Write(request); err != nil {
		return nil, err
	}
	n, end, size := 0, -1, 0
	for end < 0 || n < end+size {
		m, err := c.conn.Read(c.buffer[n:])
		if n += m; err != nil {
			return nil, err
		}
		if end >= 0 {
			continue
		}
		if end = bytes.Index(c.buffer[:n], []byte("\r\n\r\n")); end < 0 {
			continue
		}
		_, length, _ := bytes.Cut(c.buffer[:end+2], []byte("\r\nContent-Length: "))
		length, _, _ = bytes.Cut(length, []byte("\r\n"))
		if size, err = strconv.Atoi(string(length)); err != nil {
			return nil, fmt.Errorf("an answer without length: %q", c.buffer[:end])
		}
		end += 4
		if end+size > len(c.buffer) {
			c.buffer = append(c.buffer, make([]byte, end+size-len(c.buffer))...)
		}
	}
	if !bytes.HasPrefix(c.buffer, []byte("HTTP/1.1 200 ")) {
		return nil, fmt.Errorf("%.40q was answered with %.600q", request, c.buffer[:n])
	}
	return c.buffer[end : end+size], nil
}

// sample is what some load came to.
type sample struct {
	requests int
	wall     time.Duration
	// cpu is the server's, databaseCPU its database's, if that is a server, too.
	cpu, databaseCPU time.Duration
	latencies        []time.Duration
}

func (s *sample) add(more sample) {
	s.requests += more.requests
	s.wall += more.wall
	s.cpu += more.cpu
	s.databaseCPU += more.databaseCPU
	s.latencies = append(s.latencies, more.latencies...)
}

// perCPU is requests per second of the server's CPU.
func (s *sample) perCPU() float64  { return float64(s.requests) / s.cpu.Seconds() }
func (s *sample) perWall() float64 { return float64(s.requests) / s.wall.Seconds() }

// cpuEach is the server's CPU time per request, in µs.
func (s *sample) cpuEach() float64 { return microsOf(s.cpu) / float64(s.requests) }

func (s *sample) databaseEach() float64 { return microsOf(s.databaseCPU) / float64(s.requests) }

// source makes the requests of one client, one after another, until it has none
// left and returns nil.
type source func(client int) func() []byte

// always sends one request over and over.
func always(request []byte) source {
	return func(int) func() []byte { return func() []byte { return request } }
}

// run lets every client send its requests, each as soon as the last is answered.
func (c *connections) run(ctx context.Context, d time.Duration, from source) (s sample, err error) {
	before, databaseBefore, err := c.process.cpuTimes()
	if err != nil {
		return s, err
	}
	timed, stop := context.WithTimeout(ctx, d)
	defer stop()
	var mu sync.Mutex
	var wait sync.WaitGroup
	var errs []error
	began := time.Now()
	for i, one := range c.all {
		wait.Go(func() {
			next := from(i)
			var latencies []time.Duration
			var failed error
			for at := time.Now(); failed == nil && timed.Err() == nil; {
				request := next()
				if request == nil {
					break
				}
				_, failed = one.do(request)
				now := time.Now()
				latencies = append(latencies, now.Sub(at))
				at = now
			}
			mu.Lock()
			defer mu.Unlock()
			s.requests += len(latencies)
			s.latencies = append(s.latencies, latencies...)
			if failed != nil {
				errs = append(errs, failed)
			}
		})
	}
	wait.Wait()
	s.wall = time.Since(began)
	after, databaseAfter, err := c.process.cpuTimes()
	s.cpu, s.databaseCPU = after-before, databaseAfter-databaseBefore
	if len(errs) > 0 {
		return s, errs[0]
	}
	return s, errors.Join(err, ctx.Err())
}

// cpuTimes are the CPU time of a server, and of its database server.
func (p *process) cpuTimes() (own, database time.Duration, err error) {
	if own, err = cpuTime(p.pid()); err == nil && p.cluster != nil {
		database, err = p.cluster.cpuTime()
	}
	return own, database, err
}

// getRequest is a GET as an SDK would send it, in short.
func getRequest(path, key string) []byte {
	return []byte("GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: application/json\r\nAuthorization: Bearer " + key + "\r\n\r\n")
}

var streams atomic.Uint64

// random is a stream of numbers unlike any that this process had before.
func random() func() uint64 {
	n := streams.Add(1) << 32
	return func() uint64 {
		n++
		return mix(n)
	}
}

// mix is the finalizer of splitmix64: a good hash of a counter.
func mix(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}
