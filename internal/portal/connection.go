package portal

import "github.com/tenantry/tenantry/internal/tenant"

const connectionsPath = Prefix + "connections"

var connectionRoutes = []Route{
	{"connections", "GET " + connectionsPath, Need(tenant.ViewConnections), (*Portal).connections},
}

func (p *Portal) connections(v *visit) (any, error) {
	connections, err := p.service.OwnConnections(v.Context(), v.actor)
	if err != nil {
		return nil, err
	}
	return page{template: "connections", title: "Connections", data: connections}, nil
}
