package portal

import (
	"bytes"
	"html/template"
	"image"
	"image/color"
	"strconv"
	"strings"

	"github.com/boombuler/barcode/qr"
	"github.com/pquerna/otp"

	"github.com/tenantry/tenantry/internal/tenant"
)

const profilePath = Prefix + "profile"

var profileRoutes = []Route{
	{"profile", "GET " + profilePath, InPerson, (*Portal).profile},
	{"change password", "POST " + profilePath + "/password", InPerson, (*Portal).changePassword},
	{"begin second factor", "POST " + profilePath + "/second-factor", InPerson, (*Portal).beginFactor},
	{"confirm second factor", "POST " + profilePath + "/second-factor/confirm", InPerson, (*Portal).confirmFactor},
	{"remove second factor", "POST " + profilePath + "/second-factor/remove", InPerson, (*Portal).removeFactor},
}

type profilePage struct {
	User     *tenant.User
	Account  tenant.Account
	Factor   bool
	Recovery int64
	// Codes are recovery codes that were made just now: they are shown this once.
	Codes []string
	// URL begins a second factor; Secret is what it holds, for who cannot read the
	// picture.
	URL, Secret string
	Picture     template.HTML
}

func (p *Portal) profile(v *visit) (any, error) { return p.showProfile(v, profilePage{}) }

func (p *Portal) showProfile(v *visit, shown profilePage) (any, error) {
	shown.User, shown.Account = &v.in.User, v.in.Account
	var err error
	if shown.Factor, shown.Recovery, err = p.service.Factor(v.Context(), v.actor); err != nil {
		return nil, err
	}
	return page{template: "profile", title: "Profile", data: shown}, nil
}

func (p *Portal) changePassword(v *visit) (any, error) {
	if v.PostForm.Get("password") != v.PostForm.Get("repeated") {
		return p.again(v, tenant.RefuseField(tenant.Invalid, "repeated", "The two passwords differ."), (*Portal).profile)
	}
	token, err := p.service.ChangePassword(v.Context(), v.in, v.PostForm.Get("old_password"), v.PostForm.Get("password"))
	if err != nil {
		return p.again(v, err, (*Portal).profile)
	}
	remember(v.w, sessionCookie, token, 0)
	return redirect{to: profilePath, notice: "Your password is changed. Your other sessions have ended."}, nil
}

func (p *Portal) beginFactor(v *visit) (any, error) {
	url, err := p.service.EnrolFactor(v.Context(), v.actor)
	if err != nil {
		return p.again(v, err, (*Portal).profile)
	}
	return p.showEnrolment(v, url)
}

func (p *Portal) showEnrolment(v *visit, text string) (any, error) {
	key, err := otp.NewKeyFromURL(text)
	if err != nil {
		return nil, err
	}
	picture, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		return nil, err
	}
	return p.showProfile(v, profilePage{URL: text, Secret: spaced(key.Secret()), Picture: svg(picture)})
}

func (p *Portal) confirmFactor(v *visit) (any, error) {
	codes, err := p.service.ConfirmFactor(v.Context(), v.actor, v.text("code"))
	if err != nil {
		return p.again(v, err, func(p *Portal, v *visit) (any, error) {
			// The secret is in the form, so that a slip of the fingers does not make another.
			if key, err := otp.NewKeyFromURL(v.text("url")); err == nil && key.Type() == "totp" {
				if shown, err := p.showEnrolment(v, v.text("url")); err == nil {
					return shown, nil // else it is none of ours: no picture has room for it
				}
			}
			return p.profile(v)
		})
	}
	// Whatever becomes of the session, the codes are shown now or never.
	if token, err := p.service.RenewSession(v.Context(), v.in); err == nil {
		remember(v.w, sessionCookie, token, 0)
	} else {
		p.log.Warn("a session was not renewed", "request_id", v.requestID, "error", err)
	}
	return p.showProfile(v, profilePage{Codes: codes})
}

func (p *Portal) removeFactor(v *visit) (any, error) {
	if err := p.service.RemoveFactor(v.Context(), v.actor, v.text("code")); err != nil {
		return p.again(v, err, (*Portal).profile)
	}
	return redirect{to: profilePath, notice: "Your second factor is off."}, nil
}

// spaced is a secret in groups of four, to be typed.
func spaced(secret string) string {
	var b strings.Builder
	for i, r := range secret {
		if i > 0 && i%4 == 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// svg draws a picture of black and white squares as one path: no image from elsewhere,
// and nothing in a style.
func svg(picture image.Image) template.HTML {
	bounds := picture.Bounds()
	black := func(x, y int) bool {
		return color.GrayModel.Convert(picture.At(x, y)).(color.Gray).Y < 128
	}
	var b bytes.Buffer
	b.WriteString(`<svg class="code" role="img" aria-label="QR code of the second factor" viewBox="0 0 ` + strconv.Itoa(bounds.Dx()) + ` ` + strconv.Itoa(bounds.Dy()) + `" shape-rendering="crispEdges"><path fill="#000" d="`)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			from := x
			for x < bounds.Max.X && black(x, y) {
				x++
			}
			if x > from {
				b.WriteString("M" + strconv.Itoa(from) + " " + strconv.Itoa(y) + "h" + strconv.Itoa(x-from) + "v1h-" + strconv.Itoa(x-from))
			}
		}
	}
	b.WriteString(`"/></svg>`)
	return template.HTML(b.String())
}
