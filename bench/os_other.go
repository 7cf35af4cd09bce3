//go:build !linux

package main

import (
	"errors"
	"os"
	"syscall"
	"time"
)

var errLinux = errors.New("the benchmark needs Linux to see a process from outside")

func cpuTime(int) (time.Duration, error)  { return 0, errLinux }
func memory(int, string) (float64, error) { return 0, errLinux }
func resetPeak(int) error                 { return errLinux }
func datasync(f *os.File) error           { return f.Sync() }

func childrenTime(int) (time.Duration, error) { return 0, errLinux }
func asOwner() *syscall.SysProcAttr           { return &syscall.SysProcAttr{} }
func endWithParent(*syscall.SysProcAttr)      {}
func giveAway(string) error                   { return errLinux }
func syncAll()                                {}
func sleep(d time.Duration)                   { time.Sleep(d) }
