# A Ruby client of one habit: `ruby client.rb HABIT URL`. Says "done" after its requests, and stays
# until its standard input ends.
require "net/http"

REQUESTS = 120
habit, url = ARGV
url = URI(url)
case habit
when "get-alone"
  REQUESTS.times { Net::HTTP.get(url) }
when "not-started"
  http = Net::HTTP.new(url.host, url.port)
  REQUESTS.times { http.get(url.path) }
when "started"
  http = Net::HTTP.start(url.host, url.port)
  REQUESTS.times { http.get(url.path) }
else
  raise habit
end
$stdout.puts "done"
$stdout.flush
$stdin.read
