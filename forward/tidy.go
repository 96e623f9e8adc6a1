package forward

import "slices"

// nobody stands in the place of a number of a server or service.
const nobody int32 = -1

// serviceNumber is the number of a service that comes, with the servers that it has left there
// when it was removed.
func (f *Forwarder) serviceNumber(k ServiceKey) (id int32, members []int32, bypass int32) {
	for i := range f.services {
		if svc := &f.services[i]; svc.gone && svc.Key == k {
			return int32(i), svc.members, svc.bypass
		}
	}
	if len(f.services) == cap(f.services) {
		f.tidy()
	}
	if n := len(f.spare.services); n > 0 {
		id, f.spare.services = f.spare.services[n-1], f.spare.services[:n-1]
		return id, nil, nobody
	}
	f.services = append(f.services, service{})
	return int32(len(f.services) - 1), nil, nobody
}

// newServer gives a server its number.
func (f *Forwarder) newServer(rs server) (id int32) {
	if len(f.spare.servers) == 0 && len(f.servers) == cap(f.servers) {
		f.tidy()
	}
	if n := len(f.spare.servers); n > 0 {
		id, f.spare.servers = f.spare.servers[n-1], f.spare.servers[:n-1]
		f.servers[id] = rs
		return id
	}
	f.servers = append(f.servers, rs)
	return int32(len(f.servers) - 1)
}

// tidy takes the numbers of all servers and services that nothing needs any more: it is
// called instead of more memory. So there are at most twice as many numbers as were ever
// needed at a time, however often services and servers come and go.
func (f *Forwarder) tidy() {
	for id := range int32(len(f.servers)) {
		if f.servers[id].service != nobody && f.idle(id) {
			f.forget(id)
		}
	}
	for i := range f.services {
		if svc := &f.services[i]; svc.gone && svc.sched != nil && len(svc.members) == 0 && svc.bypass == nobody {
			*svc = service{gone: true, bypass: nobody}
			f.spare.services = append(f.spare.services, int32(i))
		}
	}
}

// idle tells whether a server is in no list, no entry of the table is its own, and no operator
// has a say about it.
func (f *Forwarder) idle(id int32) bool {
	rs := &f.servers[id]
	in := rs.present && (rs.Method != bypass || !f.services[rs.service].gone)
	return !in && rs.wish == Serve && rs.active+rs.inactive+rs.persist+rs.singles == 0
}

// forget takes a server's number from it and from all that remembers it.
func (f *Forwarder) forget(id int32) {
	rs := &f.servers[id]
	svc := &f.services[rs.service]
	if svc.bypass == id {
		svc.bypass = nobody
	} else {
		delete(f.numbers, member{rs.service, rs.Addr})
		svc.members = slices.DeleteFunc(svc.members, func(m int32) bool { return m == id })
	}
	if s, ok := svc.sched.(interface{ Forget(id int32) }); ok { // one that remembers more than who is in its list
		s.Forget(id)
	}
	f.fragments.forget(id)
	*rs = server{service: nobody}
	f.spare.servers = append(f.spare.servers, id)
}

// all yields the servers of the service, that of its bypass among them.
func (s *service) all(yield func(int32) bool) {
	for _, id := range s.members {
		if !yield(id) {
			return
		}
	}
	if s.bypass != nobody {
		yield(s.bypass)
	}
}
