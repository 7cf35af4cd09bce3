package portal

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"strings"

	"github.com/tenantry/tenantry/internal/tenant"
)

//go:embed assets
var assetFiles embed.FS

// assets are the files that pages are made with, by the path that has their digest
// in it: a browser keeps them for good, and asks for another when one changes.
type assets map[string]asset

type asset struct {
	contentType string
	body        []byte
}

const assetsPath = Prefix + "assets/"

var assetTypes = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

func loadAssets() assets {
	all := assets{}
	entries, err := assetFiles.ReadDir("assets")
	if err != nil {
		panic(err) // they are part of the program
	}
	for _, entry := range entries {
		body, err := assetFiles.ReadFile("assets/" + entry.Name())
		if err != nil {
			panic(err)
		}
		digest := sha256.Sum256(body)
		all[assetsPath+hex.EncodeToString(digest[:8])+"/"+entry.Name()] = asset{assetTypes[path.Ext(entry.Name())], body}
	}
	return all
}

// path is where the file of that name is.
func (a assets) path(name string) string {
	for at := range a {
		if strings.HasSuffix(at, "/"+name) {
			return at
		}
	}
	return ""
}

var assetRoutes = []Route{
	{"asset", "GET " + assetsPath + "{digest}/{name}", Anybody, (*Portal).asset},
}

func (p *Portal) asset(v *visit) (any, error) {
	found, ok := p.assets[v.URL.Path]
	if !ok {
		return nil, tenant.Refuse(tenant.NotFound, "")
	}
	return found, nil
}

func (a asset) write(v *visit) error {
	h := v.w.Header()
	h.Set("Content-Type", a.contentType)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	v.w.WriteHeader(http.StatusOK)
	v.w.Write(a.body)
	return nil
}
