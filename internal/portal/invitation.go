package portal

import (
	"time"

	"github.com/tenantry/tenantry/internal/service"
	"github.com/tenantry/tenantry/internal/tenant"
)

const invitationsPath = Prefix + "invitations"

var invitationRoutes = []Route{
	{"accept invitation", "GET " + service.InvitationPath, Anybody, (*Portal).showInvited},
	{"accept invitation", "POST " + service.InvitationPath, Anybody, (*Portal).accept},
	{"invitations", "GET " + invitationsPath, Need(tenant.InviteUsers), (*Portal).invitations},
	{"invite", "POST " + invitationsPath, Need(tenant.InviteUsers), (*Portal).invite},
	{"resend invitation", "POST " + invitationsPath + "/{id}/resend", Need(tenant.InviteUsers), (*Portal).resend},
	{"revoke invitation", "POST " + invitationsPath + "/{id}/revoke", Need(tenant.InviteUsers), (*Portal).revokeInvitation},
}

type invitedForm struct {
	Token string
	*service.Invited
}

func (p *Portal) showInvited(v *visit) (any, error) {
	invited, err := p.service.Invited(v.Context(), v.mailed())
	if err != nil {
		return p.deadLink(v, err)
	}
	return page{template: "invited", title: "You are invited", data: invitedForm{v.mailed(), invited}}, nil
}

func (p *Portal) accept(v *visit) (any, error) {
	if v.PostForm.Get("password") != v.PostForm.Get("repeated") {
		return p.again(v, tenant.RefuseField(tenant.Invalid, "repeated", "The two passwords differ."), (*Portal).showInvited)
	}
	invited, err := p.service.Invited(v.Context(), v.mailed())
	if err != nil {
		return p.deadLink(v, err)
	}
	session, err := p.service.AcceptInvitation(v.Context(), v.mailed(), v.PostForm.Get("password"), p.where(v), v.requestID)
	if err != nil {
		if tenant.IsKind(err, tenant.Unauthenticated) {
			return p.deadLink(v, err)
		}
		return p.again(v, err, (*Portal).showInvited)
	}
	if session == nil {
		return onward(v, signOnStart(invited.AccountID, Prefix)), nil
	}
	to := p.enter(v, session, Prefix)
	to.notice = "Welcome to " + session.Account.OrganizationName + "."
	return to, nil
}

// mostChoices is how many groups one may choose from: who is in may join others.
const mostChoices = 200

type invitationList struct {
	Open   []openInvitation
	Groups []tenant.Group
	Most   int
}

type openInvitation struct {
	tenant.Invitation
	// In are the names of the groups.
	In []string
	// Resend says that it may be sent again now.
	Resend bool
}

func (p *Portal) invitations(v *visit) (any, error) {
	open, err := p.service.Invitations(v.Context(), v.actor)
	if err != nil {
		return nil, err
	}
	groups, err := p.service.OwnGroups(v.Context(), v.actor)
	if err != nil {
		return nil, err
	}
	names, choices := map[string]string{}, []tenant.Group{}
	for _, g := range groups {
		names[g.ID] = g.Name
		if mayHandOn(v.actor, &g) && len(choices) < mostChoices {
			choices = append(choices, g)
		}
	}
	list := invitationList{Groups: choices, Most: tenant.MaxInvitations}
	for _, i := range open {
		one := openInvitation{Invitation: i, Resend: i.Sent < tenant.MaxSent && p.source.Now().Sub(i.SentAt) >= tenant.SendGap}
		for _, id := range i.GroupIDs {
			if names[id] != "" {
				one.In = append(one.In, names[id])
			}
		}
		list.Open = append(list.Open, one)
	}
	return page{template: "invitations", title: "Invitations", data: list}, nil
}

func (p *Portal) invite(v *visit) (any, error) {
	invitation, err := p.service.Invite(v.Context(), v.actor, v.text("email"), v.PostForm["group_ids"])
	if err != nil {
		return p.again(v, err, (*Portal).invitations)
	}
	return redirect{to: invitationsPath, notice: "An invitation goes to " + invitation.Email + ". It can be accepted until " + invitation.ExpiresAt.UTC().Format(time.DateOnly) + "."}, nil
}

func (p *Portal) resend(v *visit) (any, error) {
	if err := p.service.ResendInvitation(v.Context(), v.actor, v.PathValue("id")); err != nil {
		return p.again(v, err, (*Portal).invitations)
	}
	return redirect{to: invitationsPath, notice: "The invitation goes out again. The link before is good no more."}, nil
}

func (p *Portal) revokeInvitation(v *visit) (any, error) {
	if err := p.service.RevokeInvitation(v.Context(), v.actor, v.PathValue("id")); err != nil {
		return p.again(v, err, (*Portal).invitations)
	}
	return redirect{to: invitationsPath, notice: "The invitation is taken back."}, nil
}
