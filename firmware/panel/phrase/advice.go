package phrase

// said is what a fault means and what to do, in one language.
type said [2]string

// advice by fault, or by how its id begins; "" is for those that nobody foresaw.
// In the order of Langs.
var advice = map[string][3]said{
	"": {
		{"Algo necesita a un técnico", "Llame al soporte y lea la línea para el técnico."},
		{"Something needs a technician", "Call support and read out the line for the technician."},
		{"Något behöver en tekniker", "Ring supporten och läs upp raden för teknikern."},
	},
	"site": {
		{"La pasarela no tiene unos datos de clínica válidos", "Llame al soporte: traerán un lápiz USB con los datos."},
		{"The box has no usable data of this clinic", "Call support: they bring a USB stick with the data."},
		{"Boxen saknar giltiga uppgifter om mottagningen", "Ring supporten: de kommer med ett USB-minne."},
	},
	"program": {
		{"Una parte de la pasarela se ha parado", "Se reinicia sola. Si en 5 minutos sigue así, llame al soporte."},
		{"A part of the box has stopped", "It starts again by itself. If this stays for 5 minutes, call support."},
		{"En del av boxen har stannat", "Den startar om av sig själv. Om det står kvar i 5 minuter, ring supporten."},
	},
	"uplink": {
		{"Una línea de internet falla", "Mire el cable y la luz de su módem; apáguelo y enciéndalo. Si no vuelve, llame al proveedor."},
		{"An internet line fails", "Look at the cable and the light of its modem; switch it off and on. If it stays, call the provider."},
		{"En internetlinje fungerar inte", "Se efter kabeln och lampan på modemet; stäng av och på det. Om det inte hjälper, ring leverantören."},
	},
	"uplink.no-link": {
		{"Una línea de internet está desconectada", "Enchufe el cable entre la pasarela y el módem y mire que el módem tenga luz."},
		{"An internet line is unplugged", "Plug in the cable between the box and the modem, and see that the modem has power."},
		{"En internetlinje är urkopplad", "Sätt i kabeln mellan boxen och modemet och se att modemet har ström."},
	},
	"uplink.captive": {
		{"Una línea de internet pide iniciar sesión", "Llame al proveedor: la línea no está dada de alta."},
		{"An internet line asks for a sign-in", "Call the provider: the line is not activated."},
		{"En internetlinje kräver inloggning", "Ring leverantören: linjen är inte aktiverad."},
	},
	"uplink.cap": {
		{"Una línea de internet llega a su límite mensual", "No hay que hacer nada hoy; avise al soporte si se repite."},
		{"An internet line reaches its monthly limit", "Nothing to do today; tell support if it happens again."},
		{"En internetlinje når sin månadsgräns", "Inget att göra i dag; säg till supporten om det upprepas."},
	},
	"tunnel": {
		{"No hay conexión protegida con el hospital", "Si internet funciona y esto dura más de 10 minutos, llame al soporte."},
		{"The protected connection to the hospital is down", "If internet works and this lasts more than 10 minutes, call support."},
		{"Den skyddade förbindelsen till sjukhuset är nere", "Om internet fungerar och det varar över 10 minuter, ring supporten."},
	},
	"lan": {
		{"La red de la clínica está desconectada", "Mire el cable entre la pasarela y el conmutador de la clínica."},
		{"The clinic's network is unplugged", "Look at the cable between the box and the clinic's switch."},
		{"Mottagningens nät är urkopplat", "Se efter kabeln mellan boxen och mottagningens switch."},
	},
	"dhcp": {
		{"Los equipos pueden no recibir dirección", "Si alguien ha conectado un router nuevo, desconéctelo; después llame al soporte."},
		{"Devices may get no address", "If somebody plugged in a new router, unplug it; then call support."},
		{"Utrustning kan bli utan adress", "Om någon kopplat in en ny router, koppla ur den; ring sedan supporten."},
	},
	"dns": {
		{"Algunas direcciones de internet no se encuentran", "Las historias siguen funcionando. Si dura, llame al soporte."},
		{"Some internet names are not found", "Records go on working. If it lasts, call support."},
		{"Vissa internetadresser hittas inte", "Journalerna fungerar ändå. Om det varar, ring supporten."},
	},
	"pair": {
		{"Las dos pasarelas no están de acuerdo", "Mire el cable entre las dos. Si está puesto, llame al soporte."},
		{"The two boxes do not agree", "Look at the cable between the two. If it is in, call support."},
		{"De två boxarna är inte överens", "Se efter kabeln mellan dem. Sitter den i, ring supporten."},
	},
	"card": {
		{"Las tarjetas necesitan atención", "Llame al soporte y lea la línea para el técnico."},
		{"Something is wrong with the cards", "Call support and read out the line for the technician."},
		{"Något är fel med korten", "Ring supporten och läs upp raden för teknikern."},
	},
	"card.no-reader": {
		{"Falta un lector de tarjetas", "Desenchufe el lector y vuelva a enchufarlo. Si no aparece, llame al soporte."},
		{"A card reader is missing", "Unplug the reader and plug it in again. If it does not appear, call support."},
		{"En kortläsare saknas", "Dra ur läsaren och sätt i den igen. Syns den inte, ring supporten."},
	},
	"card.no-agent": {
		{"El ordenador de una consulta no ofrece su lector", "Reinicie ese ordenador. Si sigue así, llame al soporte."},
		{"A room's computer does not offer its reader", "Restart that computer. If it stays so, call support."},
		{"Datorn i ett rum delar inte sin läsare", "Starta om den datorn. Om det står kvar, ring supporten."},
	},
	"card.unreadable": {
		{"Una tarjeta no se puede leer", "Póngala otra vez, con el chip hacia delante. Pruebe con otra tarjeta."},
		{"A card can't be read", "Put it in again, chip first. Try another card."},
		{"Ett kort kan inte läsas", "Sätt i det igen, chippet först. Prova ett annat kort."},
	},
	"card.break-glass": {
		{"Se ha declarado una emergencia con una historia", "Es solo información: quien dirige el centro la revisará."},
		{"An emergency was declared for a record", "This is information: the head of the clinic will review it."},
		{"En nödsituation har angetts för en journal", "Detta är information: verksamhetschefen granskar den."},
	},
	"card.lists": {
		{"La lista de tarjetas anuladas es antigua", "Haga que vuelva internet; si ya funciona, llame al soporte."},
		{"The list of revoked cards is old", "Bring an internet line back; if one works, call support."},
		{"Listan över spärrade kort är gammal", "Få igång internet; fungerar det redan, ring supporten."},
	},
	"card.standby": {
		{"Los lectores los atiende la otra pasarela", "No hay que hacer nada."},
		{"The other box serves the card readers", "There is nothing to do."},
		{"Den andra boxen sköter kortläsarna", "Det finns inget att göra."},
	},
	"sync": {
		{"Las historias o los envíos necesitan atención", "Llame al soporte y lea la línea para el técnico."},
		{"Records or uploads need attention", "Call support and read out the line for the technician."},
		{"Journaler eller sändningar behöver tillsyn", "Ring supporten och läs upp raden för teknikern."},
	},
	"sync.ehr-unreachable": {
		{"No se puede preguntar por historias nuevas", "Siga trabajando: se muestran las guardadas, con su fecha. Los envíos esperan aquí."},
		{"New records can't be asked for", "Go on working: kept ones are shown, with their date. Uploads wait here."},
		{"Nya journaler kan inte hämtas", "Arbeta vidare: de sparade visas, med datum. Sändningar väntar här."},
	},
	"sync.ehr-wrong-record": {
		{"El hospital mandó una historia que nadie pidió", "No se ha mostrado. Llame al soporte ahora mismo."},
		{"The hospital sent a record nobody asked for", "It was not shown. Call support at once."},
		{"Sjukhuset skickade en journal som ingen bett om", "Den visades inte. Ring supporten genast."},
	},
	"sync.stat-late": {
		{"Un ECG urgente lleva demasiado tiempo esperando", "Si es urgente, llame por teléfono al especialista. El ECG se enviará solo."},
		{"An urgent ECG has waited too long", "If it is urgent, phone the specialist. The ECG is sent by itself."},
		{"Ett akut EKG har väntat för länge", "Är det brådskande, ring specialisten. EKG:t skickas av sig självt."},
	},
	"sync.patient-held": {
		{"Un envío puede no ser del paciente que dice", "No se envía hasta que una persona lo mire. Llame al soporte."},
		{"An upload may not be of the patient it names", "It is not sent until a person has looked. Call support."},
		{"En sändning gäller kanske inte den patient som anges", "Den skickas inte förrän någon sett på den. Ring supporten."},
	},
	"sync.disk": {
		{"Queda poco espacio para los envíos", "Haga que vuelva internet para que salgan los pendientes; después llame al soporte."},
		{"There is little room left for uploads", "Bring internet back so that the waiting ones leave; then call support."},
		{"Det är ont om plats för sändningar", "Få igång internet så att de väntande skickas; ring sedan supporten."},
	},
	"disk": {
		{"Queda poco espacio en la pasarela", "Haga que vuelva internet para que salgan los pendientes; después llame al soporte."},
		{"There is little room left on the box", "Bring internet back so that the waiting uploads leave; then call support."},
		{"Det är ont om plats i boxen", "Få igång internet så att de väntande skickas; ring sedan supporten."},
	},
	"sync.keys-new": {
		{"Las claves de la pasarela son nuevas", "No hay que hacer nada si la pasarela se acaba de instalar; si no, llame al soporte."},
		{"The box's keys are new", "Nothing to do if the box was just installed; otherwise call support."},
		{"Boxens nycklar är nya", "Inget att göra om boxen nyss installerats; ring annars supporten."},
	},
	"destination": {
		{"Un destino no recibe envíos", "Nada se pierde: esperan aquí y salen solos. Si internet funciona, avise al soporte."},
		{"A destination does not take uploads", "Nothing is lost: they wait here and leave by themselves. If internet works, tell support."},
		{"En mottagare tar inte emot sändningar", "Inget går förlorat: de väntar här och skickas av sig själva. Fungerar internet, säg till supporten."},
	},
	"ingest": {
		{"Un aparato manda archivos que no se aceptan", "Repita la prueba en el aparato. Si pasa otra vez, llame a quien lo mantiene."},
		{"A device sends files that are not accepted", "Repeat the recording on the device. If it happens again, call its service."},
		{"En apparat skickar filer som inte godtas", "Gör om undersökningen på apparaten. Händer det igen, ring dess service."},
	},
	"mqtt": {
		{"Un aparato no puede entregar sus datos", "Apáguelo y enciéndalo. Si sigue así, llame a quien lo mantiene."},
		{"A device can't hand in its data", "Switch it off and on. If it stays so, call its service."},
		{"En apparat kan inte lämna sina data", "Stäng av och på den. Om det står kvar, ring dess service."},
	},
	"slot": {
		{"Una actualización no ha funcionado", "La pasarela sigue con la versión anterior. Avise al soporte."},
		{"An update did not work", "The box goes on with the version before. Tell support."},
		{"En uppdatering misslyckades", "Boxen går vidare med den tidigare versionen. Säg till supporten."},
	},
	"panel": {
		{"Esta página no se puede mostrar protegida", "Llame al soporte: falta su certificado."},
		{"This page can't be shown protected", "Call support: its certificate is missing."},
		{"Sidan kan inte visas skyddad", "Ring supporten: dess certifikat saknas."},
	},
}
