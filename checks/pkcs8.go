package checks

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
)

var (
	errPassword = errors.New("the password is wrong, or the key is damaged")
	errKeyForm  = errors.New("is encrypted in a way that is not known: openssl pkcs8 -topk8 -v2 aes256 writes one that is")
)

// decrypt gives the key of a PEM block without its encryption: that of PKCS #8 (PBES2 of
// RFC 8018, as OpenSSL writes it), or the older one in the block's own headers.
func decrypt(b *pem.Block, password string) (*pem.Block, error) {
	switch {
	case b.Type == "ENCRYPTED PRIVATE KEY":
		key, err := decryptPKCS8(b.Bytes, password)
		return &pem.Block{Type: "PRIVATE KEY", Bytes: key}, err
	case x509.IsEncryptedPEMBlock(b): //lint:ignore SA1019 keys of this form are in use, and the file is the operator's own
		key, err := x509.DecryptPEMBlock(b, []byte(password)) //lint:ignore SA1019 see above
		return &pem.Block{Type: b.Type, Bytes: key}, err
	}
	return b, nil
}

// The structures of RFC 5958 §3 and RFC 8018 appendix A.
type (
	algorithm struct {
		ID         asn1.ObjectIdentifier
		Parameters asn1.RawValue `asn1:"optional"`
	}
	encryptedKey struct {
		Algorithm algorithm
		Data      []byte
	}
	pbes2 struct{ Derivation, Scheme algorithm }
	kdf   struct {
		Salt       []byte
		Iterations int
		Length     int       `asn1:"optional"`
		PRF        algorithm `asn1:"optional"`
	}
)

// maxIterations bounds the work for one key.
const maxIterations = 10_000_000

var hashes = map[string]func() hash.Hash{
	"": sha1.New, "1.2.840.113549.2.7": sha1.New, "1.2.840.113549.2.9": sha256.New, "1.2.840.113549.2.10": sha512.New384, "1.2.840.113549.2.11": sha512.New,
}

var ciphers = map[string]struct {
	key int
	new func([]byte) (cipher.Block, error)
}{
	"2.16.840.1.101.3.4.1.2": {16, aes.NewCipher}, "2.16.840.1.101.3.4.1.22": {24, aes.NewCipher}, "2.16.840.1.101.3.4.1.42": {32, aes.NewCipher},
	"1.2.840.113549.3.7": {24, des.NewTripleDESCipher},
}

func decryptPKCS8(der []byte, password string) ([]byte, error) {
	var e encryptedKey
	var p pbes2
	var k kdf
	var iv []byte
	if !parts(der, &e) || e.Algorithm.ID.String() != "1.2.840.113549.1.5.13" || !parts(e.Algorithm.Parameters.FullBytes, &p) ||
		p.Derivation.ID.String() != "1.2.840.113549.1.5.12" || !parts(p.Derivation.Parameters.FullBytes, &k) || !parts(p.Scheme.Parameters.FullBytes, &iv) {
		return nil, errKeyForm
	}
	prf, hashed := hashes[k.PRF.ID.String()]
	c, known := ciphers[p.Scheme.ID.String()]
	if !hashed || !known || k.Iterations < 1 || k.Iterations > maxIterations {
		return nil, errKeyForm
	}
	key, err := pbkdf2.Key(prf, password, k.Salt, k.Iterations, c.key)
	if err != nil {
		return nil, fmt.Errorf("derive the key: %w", err)
	}
	block, err := c.new(key)
	size := 0
	if err == nil {
		size = block.BlockSize()
	}
	if err != nil || len(iv) != size || len(e.Data) == 0 || len(e.Data)%size != 0 {
		return nil, errKeyForm
	}
	plain := make([]byte, len(e.Data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, e.Data)
	pad := int(plain[len(plain)-1])
	if pad < 1 || pad > size {
		return nil, errPassword
	}
	plain = plain[:len(plain)-pad]
	if _, err := x509.ParsePKCS8PrivateKey(plain); err != nil {
		return nil, errPassword
	}
	return plain, nil
}

func parts(der []byte, into any) bool {
	rest, err := asn1.Unmarshal(der, into)
	return err == nil && len(rest) == 0
}
