package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Completion is "tenantry completion": a few lines that ask Complete at each tab,
// so that a shell knows what the program knows, profiles included.
type Completion struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"Shell to print the lines for: bash, zsh or fish."`
}

// Help shows an example.
func (Completion) Help() string {
	return `Examples:
  tenantry completion bash > /etc/bash_completion.d/tenantry
  source <(tenantry completion zsh)
  tenantry completion fish > ~/.config/fish/completions/tenantry.fish`
}

var completionScripts = map[string]string{
	"bash": `# bash completion of tenantry
_tenantry() {
	local IFS=$'\n'
	COMPREPLY=($(tenantry __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _tenantry tenantry
`,
	"zsh": `#compdef tenantry
_tenantry() {
	local -a found
	found=("${(@f)$(tenantry __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
	if [[ -n "$found" ]]; then compadd -- "${found[@]}"; else _files; fi
}
compdef _tenantry tenantry
`,
	"fish": `# fish completion of tenantry
complete -c tenantry -a '(tenantry __complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'
`,
}

// Run prints the lines.
func (x *Completion) Run(t *Terminal) error {
	_, err := fmt.Fprint(t.Out, completionScripts[x.Shell])
	return err
}

// Complete is "tenantry __complete", which shells call: it prints what the last of
// the words may become.
type Complete struct {
	Words []string `arg:"" optional:"" passthrough:""`
}

// Run prints one candidate a line.
func (x *Complete) Run(t *Terminal, parser *kong.Kong) error {
	words := x.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	if len(words) == 0 {
		words = []string{""}
	}
	for _, candidate := range candidates(parser.Model.Node, words) {
		fmt.Fprintln(t.Out, candidate)
	}
	return nil
}

// candidates are what the last word may become.
func candidates(node *kong.Node, words []string) []string {
	// Bash takes --status=x for three words.
	var joined []string
	for i, word := range words {
		if word == "=" && i > 0 && i < len(words)-1 {
			continue
		}
		joined = append(joined, word)
	}
	words = joined
	last := words[len(words)-1]
	var waiting *kong.Flag // has yet to get its value
	arguments := 0
	for _, word := range words[:len(words)-1] {
		switch {
		case waiting != nil:
			waiting = nil
		case strings.HasPrefix(word, "-") && word != "-":
			name, _, valued := strings.Cut(word, "=")
			if flag := flagNamed(node, name); flag != nil && !valued && !flag.IsBool() {
				waiting = flag
			}
		default:
			if child := childNamed(node, word); child != nil {
				node = child
			} else {
				arguments++
			}
		}
	}
	var all []string
	switch {
	case waiting != nil:
		all = valuesOf(waiting.Value)
	case strings.HasPrefix(last, "-"):
		if name, _, valued := strings.Cut(last, "="); valued {
			if flag := flagNamed(node, name); flag != nil {
				for _, value := range valuesOf(flag.Value) {
					all = append(all, name+"="+value)
				}
			}
			break
		}
		for flag := range flagsOf(node) {
			all = append(all, "--"+flag.Name)
			if flag.Tag.Negatable != "" {
				all = append(all, "--no-"+flag.Name)
			}
		}
	default:
		for _, child := range node.Children {
			if !child.Hidden {
				all = append(all, child.Name)
			}
		}
		if arguments < len(node.Positional) {
			all = append(all, valuesOf(node.Positional[arguments])...)
		}
	}
	all = slices.DeleteFunc(all, func(candidate string) bool { return !strings.HasPrefix(candidate, last) })
	slices.Sort(all)
	return slices.Compact(all)
}

func childNamed(node *kong.Node, name string) *kong.Node {
	for _, child := range node.Children {
		if child.Name == name && !child.Hidden {
			return child
		}
	}
	return nil
}

// flagsOf goes through a command's flags and those of the commands above it.
func flagsOf(node *kong.Node) func(yield func(*kong.Flag) bool) {
	return func(yield func(*kong.Flag) bool) {
		for ; node != nil; node = node.Parent {
			for _, flag := range node.Flags {
				if !flag.Hidden && !yield(flag) {
					return
				}
			}
		}
	}
}

func flagNamed(node *kong.Node, name string) *kong.Flag {
	for flag := range flagsOf(node) {
		if name == "--"+flag.Name || flag.Short != 0 && name == "-"+string(flag.Short) {
			return flag
		}
	}
	return nil
}

// valuesOf are the values that are known of a flag or an argument.
func valuesOf(value *kong.Value) []string {
	if value.Enum != "" {
		return slices.DeleteFunc(value.EnumSlice(), func(one string) bool { return one == "" })
	}
	profiled := value.Flag != nil && value.Name == "profile" ||
		value.Flag == nil && value.Name == "name" && value.Tag.Arg && strings.Contains(value.Help, "profile")
	if file, err := loadProfiles(); profiled && err == nil {
		return slices.Collect(maps.Keys(file.Profiles))
	}
	return nil
}
