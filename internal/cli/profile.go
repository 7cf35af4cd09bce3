package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/tenantry/tenantry/api"
)

// Profile is "tenantry profile".
type Profile struct {
	Add    AddProfile    `cmd:"" help:"Keep a server's address and key under a name."`
	List   ListProfiles  `cmd:"" help:"List the profiles."`
	Use    UseProfile    `cmd:"" help:"Use a profile from now on."`
	Remove RemoveProfile `cmd:"" help:"Forget a profile."`
}

// profile is one server and the key for it.
type profile struct {
	BaseURL string `yaml:"base_url"`
	Key     string `yaml:"key"`
}

// profiles is what the file holds.
type profiles struct {
	// Current is the profile that is used when none is named.
	Current  string             `yaml:"current,omitempty"`
	Profiles map[string]profile `yaml:"profiles"`
}

// profilesPath is where the profiles are kept.
func profilesPath() (string, error) {
	folder, err := os.UserConfigDir()
	if err != nil {
		return "", usagef("there is no place for profiles: %v", err)
	}
	return filepath.Join(folder, "tenantry", "profiles.yaml"), nil
}

// loadProfiles reads the file, and refuses it when others may read the keys in it.
// No file is one without profiles.
func loadProfiles() (*profiles, error) {
	path, err := profilesPath()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &profiles{Profiles: map[string]profile{}}, nil
	}
	if err != nil {
		return nil, usagef("the profiles cannot be read: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, usagef("the profiles cannot be read: %v", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, usagef("others may read the keys in %s (mode %04o): run chmod 600 on it, and think of renewing the keys", path, mode)
	}
	file := &profiles{}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(file); err != nil && len(bytes.TrimSpace(text)) > 0 {
		return nil, usagef("the profiles in %s cannot be understood: %v", path, firstLine(err))
	}
	if file.Profiles == nil {
		file.Profiles = map[string]profile{}
	}
	return file, nil
}

// firstLine keeps an error of the YAML parser, which may quote a key, short.
func firstLine(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}

// save writes the file anew, for its owner alone.
func (p *profiles) save() error {
	path, err := profilesPath()
	if err != nil {
		return err
	}
	text, err := yaml.Marshal(p)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return replaceFile(path, text)
}

// replaceFile puts a new file, which its owner alone can read, in the place of
// another in one step.
func replaceFile(path string, text []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		os.Remove(file.Name())
	}
	return err
}

// AddProfile is a command.
type AddProfile struct {
	Name    string `arg:"" help:"Name of the profile."`
	BaseURL string `name:"base-url" placeholder:"URL" required:"" help:"Address of the API, /v2 included."`
	Key     string `placeholder:"KEY" help:"API key; without, it is asked for, or read from standard input."`
	Replace bool   `help:"Replace a profile that has the name already."`
}

// Help shows an example.
func (AddProfile) Help() string {
	return `The first profile is used from then on. The key is not shown while it is typed,
and kept in a file that only you can read. Examples:
  tenantry profile add prod --base-url https://accounts.example.com/v2
  tenantry profile add telnyx --base-url https://api.telnyx.com/v2 < key.txt`
}

// Run keeps the profile.
func (x *AddProfile) Run(t *Terminal) error {
	if err := checkBaseURL(x.BaseURL); err != nil {
		return err
	}
	if strings.TrimSpace(x.Name) == "" || strings.ContainsFunc(x.Name, hidden) {
		return usagef("a profile needs a name that can be typed")
	}
	file, err := loadProfiles()
	if err != nil {
		return err
	}
	if _, there := file.Profiles[x.Name]; there && !x.Replace {
		return usagef("there is a profile %s already: give --replace to put another in its place", x.Name)
	}
	key := strings.TrimSpace(x.Key)
	if key == "" {
		if key, err = t.secret("API key: "); err != nil {
			return err
		}
	}
	if key == "" {
		return usagef("a profile needs a key: type it, or send it to standard input")
	}
	file.Profiles[x.Name] = profile{BaseURL: strings.TrimRight(x.BaseURL, "/"), Key: key}
	if file.Current == "" {
		file.Current = x.Name
	}
	if err := file.save(); err != nil {
		return err
	}
	t.note("Profile %s is kept: %s as %s.", plain(x.Name), x.BaseURL, api.Mask(key))
	if !strings.HasSuffix(strings.TrimRight(x.BaseURL, "/"), "/v2") {
		t.note("Its address does not end in /v2; tenantry doctor --profile %s says whether that is right.", plain(x.Name))
	}
	return nil
}

// profileRow is a profile in a list.
type profileRow struct {
	Name    string `json:"name"`
	Current bool   `json:"current"`
	BaseURL string `json:"base_url"`
	// Key is masked.
	Key string `json:"key"`
}

var profileView = view[profileRow]{
	id: func(p *profileRow) string { return p.Name },
	columns: []column[profileRow]{
		{wire: "name", head: "NAME", shape: whole, value: func(p *profileRow) string { return p.Name }},
		{wire: "current", head: "IN USE", shape: whole, value: func(p *profileRow) string { return map[bool]string{true: "yes"}[p.Current] }},
		{wire: "base_url", head: "BASE URL", value: func(p *profileRow) string { return p.BaseURL }},
		{wire: "key", head: "KEY", shape: whole, value: func(p *profileRow) string { return p.Key }},
	},
}

// ListProfiles is a command.
type ListProfiles struct{ Output }

// Help shows an example.
func (ListProfiles) Help() string {
	return `Keys are shown in part. Example:
  tenantry profile list`
}

// Run lists the profiles.
func (x *ListProfiles) Run(t *Terminal) error {
	file, err := loadProfiles()
	if err != nil {
		return err
	}
	rows := []profileRow{}
	for _, name := range slices.Sorted(maps.Keys(file.Profiles)) {
		p := file.Profiles[name]
		rows = append(rows, profileRow{name, name == file.Current, p.BaseURL, api.Mask(p.Key)})
	}
	if x.JSON {
		return encode(t.Out, rows)
	}
	return showItems(t, x.Output, profileView, eachOf(rows))
}

// UseProfile is a command.
type UseProfile struct {
	Name string `arg:"" help:"Name of the profile."`
}

// Help shows an example.
func (UseProfile) Help() string {
	return `Example:
  tenantry profile use prod`
}

// Run changes which profile is used.
func (x *UseProfile) Run(t *Terminal) error {
	return changeProfile(x.Name, func(file *profiles) {
		file.Current = x.Name
		t.note("Profile %s is used from now on.", plain(x.Name))
	})
}

// RemoveProfile is a command.
type RemoveProfile struct {
	Name string `arg:"" help:"Name of the profile."`
}

// Help shows an example.
func (RemoveProfile) Help() string {
	return `The key stays valid on the server. Example:
  tenantry profile remove old`
}

// Run forgets the profile.
func (x *RemoveProfile) Run(t *Terminal) error {
	return changeProfile(x.Name, func(file *profiles) {
		delete(file.Profiles, x.Name)
		note := fmt.Sprintf("Profile %s is forgotten.", plain(x.Name))
		if file.Current == x.Name {
			file.Current = ""
			note += " It was in use: choose another with tenantry profile use."
		}
		t.note("%s", note)
	})
}

func changeProfile(name string, change func(*profiles)) error {
	file, err := loadProfiles()
	if err != nil {
		return err
	}
	if _, there := file.Profiles[name]; !there {
		return usagef("there is no profile %s: tenantry profile list shows those that are", name)
	}
	change(file)
	return file.save()
}
