package wire

// SMARTConfiguration is the description (SMART App Launch 2 §2) of cardauth's
// endpoints at base. Both cardauth and syncd, whose records they open, hand it out.
func SMARTConfiguration(base string) map[string]any {
	return map[string]any{
		"issuer": base, "jwks_uri": base + "/jwks",
		"authorization_endpoint": base + "/authorize", "token_endpoint": base + "/token",
		"grant_types_supported":                          []string{"authorization_code", "refresh_token"},
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query"},
		"code_challenge_methods_supported":               []string{"S256"},
		"token_endpoint_auth_methods_supported":          []string{"none"},
		"dpop_signing_alg_values_supported":              []string{"ES256"},
		"id_token_signing_alg_values_supported":          []string{"ES256"},
		"subject_types_supported":                        []string{"public"},
		"scopes_supported":                               []string{"openid", "fhirUser", "online_access", "user/*.rs", "user/*.cruds"},
		"capabilities":                                   []string{"launch-standalone", "client-public", "sso-openid-connect", "permission-user", "permission-online", "permission-v1", "permission-v2"},
		"authorization_response_iss_parameter_supported": true,
	}
}
