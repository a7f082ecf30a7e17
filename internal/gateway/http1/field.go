package http1

// Field tells a header field that means something to the gateway from all others.
type Field uint8

// The fields that mean something to the gateway.
const (
	OtherField Field = iota
	Connection
	ContentEncoding
	ContentLength
	ContentType
	Cookie
	Date
	Expect
	Host
	KeepAlive
	ProxyField // Proxy, Proxy-Authenticate, Proxy-Authentication-Info, Proxy-Authorization, Proxy-Connection
	TE
	Trailer
	TransferEncoding
	Upgrade
	UserAgent
	XForwardedFor
	XForwardedHost
	XForwardedProto
	XRequestID
	endFields
)

// set is a set of Fields.
type set uint32

func setOf(fields ...Field) (s set) {
	for _, f := range fields {
		s |= 1 << f
	}
	return s
}

func (s set) has(f Field) bool { return s>>f&1 != 0 }

// with is s, and f too when on is set.
func (s set) with(f Field, on bool) set {
	if on {
		s |= 1 << f
	}
	return s
}

// hopByHop are the fields that are for one connection only (RFC 9110, 7.6.1). Proxy is there because CGI servers take it for
// HTTP_PROXY (CVE-2016-5385).
var hopByHop = setOf(Connection, KeepAlive, ProxyField, TE, TransferEncoding, Upgrade)

// classify gives the Field of a name in lower case.
func classify(name string) Field {
	switch len(name) {
	case 2:
		if name == "te" {
			return TE
		}
	case 4:
		if name == "host" {
			return Host
		}
		if name == "date" {
			return Date
		}
	case 5:
		if name == "proxy" {
			return ProxyField
		}
	case 6:
		if name == "cookie" {
			return Cookie
		}
		if name == "expect" {
			return Expect
		}
	case 7:
		if name == "trailer" {
			return Trailer
		}
		if name == "upgrade" {
			return Upgrade
		}
	case 10:
		if name == "user-agent" {
			return UserAgent
		}
		if name == "connection" {
			return Connection
		}
		if name == "keep-alive" {
			return KeepAlive
		}
	case 12:
		if name == "content-type" {
			return ContentType
		}
		if name == "x-request-id" {
			return XRequestID
		}
	case 14:
		if name == "content-length" {
			return ContentLength
		}
	case 15:
		if name == "x-forwarded-for" {
			return XForwardedFor
		}
	default:
		return classifyLong(name)
	}
	return OtherField
}

func classifyLong(name string) Field {
	switch name {
	case "content-encoding":
		return ContentEncoding
	case "x-forwarded-host":
		return XForwardedHost
	case "transfer-encoding":
		return TransferEncoding
	case "x-forwarded-proto":
		return XForwardedProto
	case "proxy-connection", "proxy-authenticate", "proxy-authorization", "proxy-authentication-info":
		return ProxyField
	}
	return OtherField
}
