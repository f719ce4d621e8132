// The plugin's command functions, put in place of the reference's: each call runs the executable that CNI_SUITE_PLUGIN names, in the
// network namespace of the calling thread, with the environment and the standard input that a runtime would give it.

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
)

func cmdAdd(args *skel.CmdArgs) error    { return callPlugin("ADD", args) }
func cmdCheck(args *skel.CmdArgs) error  { return callPlugin("CHECK", args) }
func cmdDel(args *skel.CmdArgs) error    { return callPlugin("DEL", args) }
func cmdStatus(args *skel.CmdArgs) error { return callPlugin("STATUS", args) }

// refusal is a CNI error that the executable has printed.
type refusal types.Error

func (r *refusal) Error() string { return fmt.Sprintf("code %d: %s; %s", r.Code, r.Msg, r.Details) }

func callPlugin(verb string, args *skel.CmdArgs) error {
	command := exec.Command(os.Getenv("CNI_SUITE_PLUGIN"))
	command.Env = append(os.Environ(), "CNI_COMMAND="+verb, "CNI_PATH="+os.Getenv("PATH"), "CNI_CONTAINERID="+args.ContainerID,
		"CNI_NETNS="+args.Netns, "CNI_IFNAME="+args.IfName, "CNI_ARGS="+args.Args)
	command.Stdin = bytes.NewReader(args.StdinData)
	command.Stderr = os.Stderr
	var output bytes.Buffer
	command.Stdout = &output
	failed := command.Run()
	if failed == nil {
		_, failed = os.Stdout.Write(output.Bytes())
		return failed
	}
	answer := &refusal{}
	if err := json.Unmarshal(output.Bytes(), answer); err != nil || answer.Code == 0 || answer.Msg == "" {
		return fmt.Errorf("%s: %v, without a CNI error: %q", verb, failed, output.String())
	}
	return answer
}
