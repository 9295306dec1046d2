import json,time
def  wait( seconds ):
    y = {'then' :time.time( ), 'now':None,
      'until' : [ seconds,
  2 ] }
    return json.dumps( y )
