// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// replica is one gateway, in a process of its own.
type replica struct {
	name                string
	http, mqtt, cluster string // addresses
	args                []string
	log                 string // the file of its log

	command *exec.Cmd
	ended   chan struct{}
}

// stopTimeout is how long a gateway has to end before it is killed.
const stopTimeout = 10 * time.Second

func (r *replica) url() string { return "http://" + r.http + "/" }
func (r *replica) pid() int    { return r.command.Process.Pid }

func (r *replica) launch(program string) error {
	log, err := os.Create(r.log)
	if err != nil {
		return err
	}
	defer log.Close()
	r.command = exec.Command(program, r.args...)
	r.command.Env = append(os.Environ(), "GATEWAY_GROUP_KEY="+groupKey)
	r.command.Stderr = log
	// A Ctrl-C in the shell is for this program, which ends the replicas in good order.
	r.command.SysProcAttr = apart()
	if err := r.command.Start(); err != nil {
		return err
	}
	r.ended = make(chan struct{})
	go func() {
		_ = r.command.Wait()
		close(r.ended)
	}()
	return nil
}

// dead says that the process has ended.
func (r *replica) dead() bool {
	if r.ended == nil {
		return true
	}
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

func (r *replica) stop() {
	if !r.dead() {
		_ = r.command.Process.Signal(syscall.SIGTERM)
	}
}

func (r *replica) wait() {
	if r.ended == nil {
		return
	}
	select {
	case <-r.ended:
	case <-time.After(stopTimeout):
		_ = r.command.Process.Kill()
		<-r.ended
	}
}

// lastLine is the end of its log.
func (r *replica) lastLine() string {
	text, _ := os.ReadFile(r.log)
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(lines[len(lines)-1])
}

// client is for all requests. A gateway that is dead answers none.
var client = &http.Client{Timeout: 10 * time.Second}

// runs is how many devices the replica has connected.
func (r *replica) runs() (n int, ok bool) {
	response, err := client.Get(r.url() + "v1/devices?limit=1")
	if err != nil {
		return 0, false
	}
	defer response.Body.Close()
	var status struct{ Counts map[string]int }
	err = json.NewDecoder(response.Body).Decode(&status)
	return status.Counts["connected"], err == nil && response.StatusCode == http.StatusOK
}

// post gives the replica a message for a device, and says whether it is kept.
func (r *replica) post(device, body string) bool {
	response, err := client.Post(
		r.url()+"v1/devices/"+device+"/messages", "application/json", strings.NewReader(body),
	)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusAccepted
}
