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
	ProxyField // proxy, proxy-authenticate, proxy-authorization, proxy-connection and the like
	Server
	SetCookie
	TE
	Trailer
	TransferEncoding
	Upgrade
	UserAgent
	Via
	XForwardedFor
	XForwardedHost
	XForwardedProto
	XRequestID
	endFields
)
