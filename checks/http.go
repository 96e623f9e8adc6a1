package checks

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// userAgent is what keepalived calls itself to web servers.
const userAgent = "KeepAliveClient"

// maxHead is how long the head of an answer may be, its empty line included.
const maxHead = 4095

// maxRequest is how long a request may be.
const maxRequest = 2047

// maxSearched bounds what a regular expression is searched in: the head of an answer and
// the beginning of its body.
const maxSearched = 4 << 20

// HTTPCheck describes one request of HTTP_GET or SSL_GET, and what its answer must be.
type HTTPCheck struct {
	Target
	TLS         *tls.Config // see [TLSClient]; nil for plain HTTP
	CloseNotify bool        // tls_compliant: TLS is closed as it should be

	Protocol string // 1.0, 1.0C or 1.1; "" is 1.0
	Path     string
	Host     string // of the header, verbatim; "" is the address and port

	Status  [][2]int // accepted status codes, both ends included; none is 200 to 299
	Digests []string // one of which the MD5 sum of the body must be, in lower case; none for any
	Regex   *Regex   // nil for any body
}

// HTTPAnswer is what a server has answered.
type HTTPAnswer struct {
	Status int
	Head   []byte         // with its empty line
	Length int64          // of the body
	Digest [md5.Size]byte // of the body, of which Content-Length may end what is summed

	length int64 // Content-Length, -1 without one
	whole  bool  // the server has closed the connection behind it
}

// Remark is what is odd about a complete answer and decides nothing: a body that is not as
// long as Content-Length says. "" is nothing.
func (a *HTTPAnswer) Remark() string {
	if !a.whole || a.length < 0 || a.length == a.Length {
		return ""
	}
	return fmt.Sprintf("Content-Length says %d, the body has %d bytes", a.length, a.Length)
}

// HTTP makes one check. It sends the bytes that keepalived sends, and as it does reads
// until the server closes the connection; redirects are not followed, and a chunked body
// is taken as it comes. The error is as that of [TCP]. The answer has what was read, as
// far as it came.
func HTTP(ctx context.Context, c HTTPCheck) (HTTPAnswer, error) {
	request := c.request()
	if len(request) > maxRequest {
		return HTTPAnswer{}, fmt.Errorf("%w: the request is longer than %d bytes", ErrLocal, maxRequest)
	}
	conn, err := c.talk(ctx, unix.SOCK_STREAM)
	if err != nil {
		return HTTPAnswer{}, err
	}
	defer conn.Close()
	var stream io.ReadWriter = conn
	if c.TLS != nil {
		end := conn.end
		conn.within()
		secure := tls.Client(conn, c.TLS)
		if err := secure.HandshakeContext(ctx); err != nil {
			return HTTPAnswer{}, conn.handshake(err)
		}
		if c.CloseNotify {
			defer secure.CloseWrite()
		}
		if conn.within(); conn.end.After(end) {
			conn.end = end
		}
		stream = secure
	}
	if _, err := stream.Write(request); err != nil {
		return HTTPAnswer{}, conn.failed(err, 0)
	}
	return c.judge(conn, stream)
}

// within makes all that follows take one timeout together.
func (c *talkative) within() { c.end = time.Now().Add(c.timeout) }

// handshake words an error of the TLS handshake.
func (c *talkative) handshake(err error) error {
	if err = c.failed(err, c.got); errors.Is(err, ErrLocal) {
		return err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("TLS handshake: connection closed")
	}
	return fmt.Errorf("TLS handshake: %s", strings.TrimPrefix(err.Error(), "tls: "))
}

func (c HTTPCheck) request() []byte {
	host, version, closing := c.Host, "1.0", ""
	if host == "" {
		host = c.Addr.String()
	}
	if c.Protocol == "1.1" {
		version = "1.1"
	}
	if c.Protocol == "1.1" || c.Protocol == "1.0C" {
		closing = "Connection: close\r\n"
	}
	return fmt.Appendf(nil, "GET %s HTTP/%s\r\nUser-Agent: %s\r\n%sHost: %s\r\n\r\n", c.Path, version, userAgent, closing, host)
}

// judge reads the answer and applies the tests in keepalived's order.
func (c HTTPCheck) judge(conn *talkative, stream io.Reader) (HTTPAnswer, error) {
	r := reader{sum: md5.New(), keep: c.Regex != nil}
	buf := make([]byte, 16<<10)
	for {
		n, err := stream.Read(buf)
		if bad := r.take(buf[:n]); bad != nil {
			return r.answer(), bad
		}
		if r.answered && !c.accepts(r.Status) {
			return r.answer(), fmt.Errorf("HTTP status %s, expected %s", r.statusText(), ranges(c.Status))
		}
		switch {
		case err == nil:
			continue
		case !errors.Is(err, io.EOF) && (c.TLS == nil || !errors.Is(err, io.ErrUnexpectedEOF)):
			return r.answer(), conn.failed(err, r.got)
		case !r.answered:
			return r.answer(), fmt.Errorf("connection closed before the end of the HTTP header (%d bytes)", r.got)
		}
		r.whole = true
		return r.answer(), c.content(&r)
	}
}

func (c HTTPCheck) accepts(status int) bool {
	if len(c.Status) == 0 {
		return status >= 200 && status <= 299
	}
	return slices.ContainsFunc(c.Status, func(r [2]int) bool { return status >= r[0] && status <= r[1] })
}

// content judges a complete body.
func (c HTTPCheck) content(r *reader) error {
	if len(c.Digests) > 0 {
		if got := hex.EncodeToString(r.sum.Sum(nil)); !slices.Contains(c.Digests, got) {
			odd := r.Remark()
			if odd != "" {
				odd = " (" + odd + ")"
			}
			return fmt.Errorf("digest %s, expected %s%s", got, strings.Join(c.Digests, " or "), odd)
		}
	}
	if c.Regex != nil {
		return c.Regex.judge(r.text)
	}
	return nil
}

func ranges(list [][2]int) string {
	if len(list) == 0 {
		return "200-299"
	}
	var words []string
	for _, r := range list {
		word := strconv.Itoa(r[0])
		if r[1] != r[0] {
			word += "-" + strconv.Itoa(r[1])
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// reader takes an answer in pieces. Of the body it keeps what is needed.
type reader struct {
	HTTPAnswer
	answered bool   // the head is complete
	head     []byte // until then
	keep     bool   // the text is wanted
	text     []byte // head and body
	sum      hash.Hash
	got      int64 // bytes in all
}

func (r *reader) answer() HTTPAnswer {
	r.sum.Sum(r.Digest[:0])
	return r.HTTPAnswer
}

// take takes the next piece. The error says that this is no answer of HTTP.
func (r *reader) take(b []byte) error {
	r.got += int64(len(b))
	if r.keep {
		r.text = append(r.text, b[:min(len(b), maxSearched-len(r.text))]...)
	}
	if !r.answered {
		old := len(r.head)
		r.head = append(r.head, b[:min(len(b), maxHead-old)]...)
		end := bytes.Index(r.head, []byte("\r\n\r\n")) + 4
		switch {
		case end < 4 && len(r.head) == maxHead:
			return fmt.Errorf("HTTP header does not end within %d bytes", maxHead)
		case end < 4:
			return nil
		}
		r.Head, r.answered = r.head[:end:end], true
		r.Status, r.length = parseHead(r.Head)
		b = b[end-old:]
	}
	r.Length += int64(len(b))
	if r.length >= 0 { // keepalived sums no more than the server has promised
		b = b[:max(0, min(int64(len(b)), r.length-(r.Length-int64(len(b)))))]
	}
	r.sum.Write(b)
	return nil
}

func (r *reader) statusText() string {
	if r.Status == 0 {
		line, _, _ := strings.Cut(string(r.Head), "\r\n")
		return fmt.Sprintf("missing in %q", clip(line))
	}
	return strconv.Itoa(r.Status)
}

// clip shortens what a server says for a log line.
func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}

// parseHead finds the status code, 0 for none, and Content-Length, -1 for none, as
// keepalived does: three digits and a blank behind the first blank of the first line, and
// the header in exactly this spelling.
func parseHead(head []byte) (status int, length int64) {
	first, rest, _ := strings.Cut(string(head), "\r\n")
	_, code, _ := strings.Cut(first, " ")
	if code, _, ok := strings.Cut(code, " "); ok && len(code) == 3 {
		if n, err := strconv.ParseUint(code, 10, 16); err == nil {
			status = int(n)
		}
	}
	for line := range strings.SplitSeq(rest, "\r\n") {
		if value, ok := strings.CutPrefix(line, "Content-Length:"); ok {
			if n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err == nil && n >= 0 {
				return status, n
			}
		}
	}
	return status, -1
}
