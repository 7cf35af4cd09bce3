package api

import _ "embed" // for OpenAPI

// OpenAPI is openapi.yaml: the wire contract as an OpenAPI 3.0 document, which
// GET /openapi.yaml serves. It is not to be changed.
//
//go:embed openapi.yaml
var OpenAPI []byte
